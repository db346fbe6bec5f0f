//! JSON Patch (RFC 6902) on a cim.json: all or nothing, bounded. No error shows a value: a patch may hold anything.

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::document::{CimDocument, DocumentError, parse_json};
use super::problem::{Bounded, Problem, Problems};
use crate::limits;

/// Why a patch changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// Larger than [`limits::CONFIG_FILE_BYTES`], or more than [`limits::CONFIG_VALUES`] values.
    #[error("the patch is larger than any configuration needs")]
    TooLarge,
    /// Not JSON.
    #[error("the patch is not valid JSON")]
    Syntax,
    /// JSON, but no array.
    #[error("not a JSON Patch (RFC 6902): no array of operations")]
    NoArray,
    /// More than [`limits::PATCH_OPERATIONS`].
    #[error("more than {} operations", limits::PATCH_OPERATIONS)]
    TooManyOperations,
    /// An element that is no operation of RFC 6902. Counted from 0, as RFC 6901 does.
    #[error("element {0} is not an operation of JSON Patch (RFC 6902)")]
    NoOperation(usize),
    /// An operation that cannot be applied to the configuration as it is.
    #[error("operation {number} cannot be applied: {why}")]
    Operation {
        /// Which, counted from 0.
        number: usize,
        /// Why not.
        why: &'static str,
    },
    /// The configuration would be larger or nested deeper than any that is read.
    #[error("the configuration would become larger than any that is read")]
    ResultTooLarge,
    /// The configuration would have members that are not allowed.
    #[error("the configuration would not be valid: {0}")]
    Invalid(Bounded<NotAllowed>),
}

/// A member that a patch would make invalid: where, and what is allowed; not the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} would not be {allowed}")]
pub struct NotAllowed {
    /// Its path.
    pub path: String,
    /// What is allowed there.
    pub allowed: String,
}

/// The document after `patch`.
///
/// # Errors
/// Not a patch, not applicable, or a document that a file could not have either.
pub fn patched(document: &CimDocument, patch: &[u8]) -> Result<CimDocument, PatchError> {
    let operations = parse(patch)?;
    let mut raw = document.raw.clone();
    for (number, operation) in operations.iter().enumerate() {
        json_patch::patch(&mut raw, std::slice::from_ref(operation)).map_err(|error| {
            PatchError::Operation {
                number,
                why: why(&error.kind),
            }
        })?;
        // A copy can double the document; the others add no more than the patch has.
        if matches!(operation, PatchOperation::Copy(_)) {
            check_size(&raw)?;
        }
    }
    check_size(&raw)?;
    CimDocument::from_value(raw).map_err(|problems| PatchError::Invalid(without_values(&problems)))
}

/// Whether `patch` is a JSON Patch that CIM would read; how many operations it has.
///
/// # Errors
/// It is not one.
pub fn check(patch: &[u8]) -> Result<usize, PatchError> {
    parse(patch).map(|operations| operations.len())
}

fn parse(patch: &[u8]) -> Result<Vec<PatchOperation>, PatchError> {
    if patch.len() as u64 > limits::CONFIG_FILE_BYTES {
        return Err(PatchError::TooLarge);
    }
    let Value::Array(elements) = parse_json(patch).map_err(|error| match error {
        DocumentError::TooManyValues => PatchError::TooLarge,
        DocumentError::Syntax(_) | DocumentError::Invalid(_) => PatchError::Syntax,
    })?
    else {
        return Err(PatchError::NoArray);
    };
    if elements.len() > limits::PATCH_OPERATIONS {
        return Err(PatchError::TooManyOperations);
    }
    let operation = |(number, element)| {
        serde_json::from_value(element).map_err(|_| PatchError::NoOperation(number))
    };
    elements.into_iter().enumerate().map(operation).collect()
}

fn why(kind: &PatchErrorKind) -> &'static str {
    match kind {
        PatchErrorKind::TestFailed => "the value to test for is another one",
        PatchErrorKind::InvalidFromPointer => "there is nothing at its \"from\"",
        PatchErrorKind::CannotMoveInsideItself => "it moves a value into itself",
        _ => "there is nothing at its \"path\"",
    }
}

fn without_values(problems: &Problems) -> Bounded<NotAllowed> {
    let mut names = Bounded::default();
    for Problem { path, allowed, .. } in problems.iter() {
        names.push(NotAllowed {
            path: path.clone(),
            allowed: allowed.clone(),
        });
    }
    names
}

/// The bounds that a document has when it is read: values, bytes, depth. No recursion: the depth is what is not known.
fn check_size(document: &Value) -> Result<(), PatchError> {
    let (mut values, mut bytes) = (0, 0_u64);
    let mut waiting = vec![(document, 0)];
    while let Some((value, depth)) = waiting.pop() {
        values += 1;
        if values > limits::CONFIG_VALUES
            || bytes > limits::CONFIG_FILE_BYTES
            || depth > limits::CONFIG_DEPTH
        {
            return Err(PatchError::ResultTooLarge);
        }
        match value {
            Value::String(text) => bytes += text.len() as u64,
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => {
                bytes += members.keys().map(|name| name.len() as u64).sum::<u64>();
                waiting.extend(members.values().map(|member| (member, depth + 1)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patch(patch: &Value) -> Result<CimDocument, PatchError> {
        patched(&CimDocument::built_in(), patch.to_string().as_bytes())
    }

    #[test]
    fn operations_apply_in_order_and_unknown_members_stay() {
        let document = patch(&json!([
            {"op": "test", "path": "/cimConfig/lmaas/max_age", "value": 7},
            {"op": "replace", "path": "/cimConfig/lmaas/max_age", "value": 3},
            {"op": "add", "path": "/cimConfig/haaas", "value": {"x": [1, 2]}},
            {"op": "remove", "path": "/cimConfig/haaas/x/0"},
            {"op": "copy", "from": "/cimConfig/lmaas/max_age", "path": "/cimConfig/lmaas/max_backup_files"},
            {"op": "move", "from": "/cimConfig/haaas", "path": "/kept"},
            {"op": "remove", "path": "/cimConfig/lmaas/buffer_size"},
        ]))
        .unwrap();
        assert_eq!(document.config.lmaas.max_age, 3);
        assert_eq!(document.config.lmaas.max_backup_files, 3);
        assert_eq!(document.config.lmaas.buffer_size, 10_000, "the default");
        assert_eq!(document.raw["kept"], json!({"x": [2]}));
        assert_eq!(patch(&json!([])).unwrap(), CimDocument::built_in());
    }

    #[test]
    fn what_cannot_be_applied_is_named_without_its_values() {
        let at =
            |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
        for (bad, expected) in [
            (
                json!({}),
                "not a JSON Patch (RFC 6902): no array of operations",
            ),
            (
                json!([{"op": "hunter2"}]),
                "element 0 is not an operation of JSON Patch (RFC 6902)",
            ),
            (
                json!([{"op": "test", "path": "", "value": {"hunter2": 1}}]),
                "operation 0 cannot be applied: the value to test for is another one",
            ),
            (
                at("/cimConfig/hunter2", json!(1)),
                "operation 0 cannot be applied: there is nothing at its \"path\"",
            ),
            (
                json!([{"op": "copy", "from": "/hunter2", "path": "/x"}]),
                "operation 0 cannot be applied: there is nothing at its \"from\"",
            ),
            (
                json!([{"op": "move", "from": "/cimConfig", "path": "/cimConfig/x"}]),
                "operation 0 cannot be applied: it moves a value into itself",
            ),
            (
                at("/cimConfig/lmaas/buffer_size", json!(-5)),
                "the configuration would not be valid: cimConfig.lmaas.buffer_size would not be a whole number from 1000 to 100000 (bytes)",
            ),
            (
                at("", json!("hunter2")),
                "the configuration would not be valid: (the whole file) would not be an object",
            ),
            (
                at("/cimConfig/lmaas/logging_mode", json!("hunter2")),
                "the configuration would not be valid: cimConfig.lmaas.logging_mode would not be one of FILE TCP KAFKA STDOUT FILEANDSTDOUT",
            ),
        ] {
            assert_eq!(patch(&bad).unwrap_err().to_string(), expected);
        }
        let document = CimDocument::built_in();
        let syntax = patched(&document, b"[{\"hunter2\":").unwrap_err();
        assert_eq!(syntax.to_string(), "the patch is not valid JSON");
    }

    #[test]
    fn a_patch_and_what_it_makes_are_bounded() {
        let document = CimDocument::built_in();
        let large = vec![b' '; limits::CONFIG_FILE_BYTES as usize + 1];
        assert_eq!(patched(&document, &large), Err(PatchError::TooLarge));
        let test = json!({"op": "test", "path": "/x", "value": 1});
        let many = vec![test; limits::PATCH_OPERATIONS + 1];
        assert_eq!(patch(&json!(many)), Err(PatchError::TooManyOperations));
        // Each copy doubles the document: 2^64 times without a bound.
        let wide: Vec<_> = (0..64)
            .map(|n| json!({"op": "copy", "from": "", "path": format!("/x{n}")}))
            .collect();
        assert_eq!(patch(&json!(wide)), Err(PatchError::ResultTooLarge));
        // Each copy doubles the depth.
        let deep: Vec<_> = (0..16)
            .map(|n| json!({"op": "copy", "from": "", "path": format!("{}/a", "/a".repeat((1 << n) - 1))}))
            .collect();
        let mut bottom = vec![json!({"op": "replace", "path": "", "value": {}})];
        bottom.extend(deep);
        assert_eq!(patch(&json!(bottom)), Err(PatchError::ResultTooLarge));
    }

    #[test]
    fn a_document_at_the_bound_of_depth_can_be_written_and_read_again() {
        let depth = limits::CONFIG_DEPTH - 1;
        let value: Value =
            serde_json::from_str(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))).unwrap();
        let document = patch(&json!([{"op": "add", "path": "/x", "value": value}])).unwrap();
        let text = document.raw.to_string();
        assert_eq!(CimDocument::parse(text.as_bytes()).unwrap(), document);
    }
}
