//! cim.json as a document: the JSON as it is, unknown members included, and the typed values read from it.
//!
//! Of a member that is there twice the last one counts, as in the original.

use serde_json::{Map, Value};

use super::model::CimConfig;
use super::problem::{Bounded, Problem, Problems, shown, shown_json};
use super::table::{MEMBERS, Member};
use crate::limits;

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, not UTF-8, or nested too deeply (128 levels).
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// More than [`limits::CONFIG_VALUES`].
    #[error(
        "more than {} values, which no configuration needs",
        limits::CONFIG_VALUES
    )]
    TooManyValues,
    /// Members that are not allowed; all of them, up to [`limits::CONFIG_PROBLEMS`].
    #[error("{0}")]
    Invalid(Problems),
}

/// A valid cim.json.
#[derive(Debug, Clone, PartialEq)]
pub struct CimDocument {
    /// The whole JSON, unknown members included: what a JSON Patch applies to and what is written again.
    pub raw: Value,
    /// The values of the members that CIM knows; the default where `raw` has none.
    pub config: CimConfig,
    /// What is unusual, though allowed: unknown members, `app_port` outside the usual range.
    pub warnings: Bounded<String>,
}

impl CimDocument {
    /// Reads the text of a cim.json.
    ///
    /// # Errors
    /// Not JSON, too large a document, or members that are not allowed.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        Self::from_value(parse_json(text)?).map_err(DocumentError::Invalid)
    }

    /// Takes a JSON value as a cim.json.
    ///
    /// # Errors
    /// Every member that is not allowed.
    pub fn from_value(raw: Value) -> Result<Self, Problems> {
        let mut reading = Reading::default();
        let mut config = CimConfig::default();
        let top = reading.object("", Some(&raw));
        reading.unknown("", top, |name| name == "cimConfig");
        let inner = top.and_then(|top| top.get("cimConfig"));
        if top.is_some() && inner.is_none() {
            let text = "cimConfig is missing: every setting has its default";
            reading.warnings.push(text.to_owned());
        }
        let inner = reading.object("cimConfig", inner);
        let is_section = |name: &str| MEMBERS.iter().any(|m| m.section == name);
        reading.unknown("cimConfig.", inner, is_section);
        for section in ["lmaas", "cim_settings", "app_settings"] {
            let path = format!("cimConfig.{section}");
            let value = inner.and_then(|inner| inner.get(section));
            let Some(object) = reading.object(&path, value) else {
                continue;
            };
            let members = || MEMBERS.iter().filter(|m| m.section == section);
            let is_member = |name: &str| members().any(|m| m.name == name);
            reading.unknown(&format!("{path}."), Some(object), is_member);
            for member in members() {
                if let Some(value) = object.get(member.name)
                    && member.set(&mut config, value).is_err()
                {
                    reading.problems.push(member.problem(value));
                }
            }
        }
        if !reading.problems.is_empty() {
            return Err(reading.problems);
        }
        for warning in MEMBERS.iter().filter_map(|m| m.warning(&config)) {
            reading.warnings.push(warning);
        }
        Ok(Self {
            raw,
            config,
            warnings: reading.warnings,
        })
    }

    /// The document that is in force when there is none: every member with its default.
    pub fn built_in() -> Self {
        let config = CimConfig::default();
        let mut raw = Value::Object(Map::new());
        for member in &MEMBERS {
            let value = member.get(&config);
            if !value.is_null() {
                put(&mut raw, member, value);
            }
        }
        Self {
            raw,
            config,
            warnings: Bounded::default(),
        }
    }

    /// The document says something about `member`.
    pub fn gives(&self, member: &Member) -> bool {
        self.raw
            .get("cimConfig")
            .and_then(|inner| inner.get(member.section)?.get(member.name))
            .is_some()
    }

    /// This document with other values for some members; unknown members stay.
    ///
    /// # Errors
    /// A value that its member does not allow.
    pub fn with<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a Member, Value)>,
    ) -> Result<Self, Problems> {
        let mut raw = self.raw.clone();
        for (member, value) in values {
            put(&mut raw, member, value);
        }
        Self::from_value(raw)
    }
}

/// Reads bounded JSON.
pub(super) fn parse_json(text: &[u8]) -> Result<Value, DocumentError> {
    // Each value but the first follows one of these bytes: an upper bound before any memory is taken.
    let values = text.iter().filter(|b| b",[{".contains(b)).count();
    if values > limits::CONFIG_VALUES {
        return Err(DocumentError::TooManyValues);
    }
    serde_json::from_slice(text).map_err(|e| DocumentError::Syntax(e.to_string()))
}

/// Sets a member in the JSON, making the objects around it where they are missing.
fn put(raw: &mut Value, member: &Member, value: Value) {
    let mut at = raw;
    for name in ["cimConfig", member.section] {
        let Value::Object(members) = at else { return };
        at = members
            .entry(name)
            .or_insert_with(|| Value::Object(Map::new()));
    }
    if let Value::Object(members) = at {
        members.insert(member.name.to_owned(), value);
    }
}

/// What was found while a document was read.
#[derive(Default)]
struct Reading {
    problems: Problems,
    warnings: Bounded<String>,
}

impl Reading {
    /// The object at `path`; anything else but a missing one is a problem.
    fn object<'a>(
        &mut self,
        path: &str,
        value: Option<&'a Value>,
    ) -> Option<&'a Map<String, Value>> {
        let value = value?;
        let object = value.as_object();
        if object.is_none() {
            self.problems.push(Problem {
                path: if path.is_empty() {
                    "(the whole file)"
                } else {
                    path
                }
                .to_owned(),
                value: shown_json(value),
                allowed: "an object".to_owned(),
            });
        }
        object
    }

    fn unknown(
        &mut self,
        path: &str,
        object: Option<&Map<String, Value>>,
        known: impl Fn(&str) -> bool,
    ) {
        let names = object.into_iter().flat_map(Map::keys);
        for name in names.filter(|name| !known(name)) {
            let name = shown(name);
            let name = name.trim_matches('"');
            self.warnings
                .push(format!("{path}{name}: unknown member, kept and not used"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(value: Value) -> Vec<String> {
        match CimDocument::from_value(value) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        }
    }

    #[test]
    fn missing_members_take_defaults() {
        for text in ["{}", r#"{"cimConfig":{}}"#, r#"{"cimConfig":{"lmaas":{}}}"#] {
            let document = CimDocument::parse(text.as_bytes()).unwrap();
            assert_eq!(document.config, CimConfig::default(), "{text}");
        }
        let document = CimDocument::parse(b"{}").unwrap();
        assert!(
            document
                .warnings
                .to_string()
                .contains("cimConfig is missing")
        );
    }

    #[test]
    fn the_built_in_document_reads_as_the_defaults() {
        let built_in = CimDocument::built_in();
        let read = CimDocument::from_value(built_in.raw.clone()).unwrap();
        assert_eq!(read, built_in);
        assert_eq!(built_in.raw["cimConfig"]["lmaas"]["buffer_size"], 10_000);
    }

    #[test]
    fn unknown_members_are_kept_and_named() {
        let raw = json!({"x": 1, "cimConfig": {"haaas": {"a": [1, 2]}, "lmaas": {"buffersize": 5, "max_age": 3}}});
        let document = CimDocument::from_value(raw.clone()).unwrap();
        assert_eq!(document.raw, raw);
        assert_eq!(document.config.lmaas.max_age, 3);
        let warnings: Vec<_> = document.warnings.iter().map(String::as_str).collect();
        assert_eq!(
            warnings,
            [
                "x: unknown member, kept and not used",
                "cimConfig.haaas: unknown member, kept and not used",
                "cimConfig.lmaas.buffersize: unknown member, kept and not used",
            ]
        );
        let buffer_size = MEMBERS.iter().find(|m| m.name == "buffer_size").unwrap();
        let changed = document.with([(buffer_size, json!(2000))]).unwrap();
        assert_eq!(changed.raw["cimConfig"]["haaas"], json!({"a": [1, 2]}));
        assert_eq!(changed.raw["cimConfig"]["lmaas"]["buffer_size"], 2000);
        assert_eq!(changed.config.lmaas.buffer_size, 2000);
        assert!(changed.gives(buffer_size) && !document.gives(buffer_size));
    }

    #[test]
    fn all_errors_are_collected_with_their_paths() {
        let raw = json!({"cimConfig": {
            "lmaas": {"buffer_size": -5, "logging_mode": 7, "max_age": "x"},
            "cim_settings": null,
            "app_settings": {"app_port": 0, "http2_enabled": "yes"},
        }});
        assert_eq!(
            problems(raw),
            [
                "cimConfig.lmaas.max_age: \"x\" is not allowed; allowed: a whole number from 1 to 30 (days)",
                "cimConfig.lmaas.buffer_size: -5 is not allowed; allowed: a whole number from 1000 to 100000 (bytes)",
                "cimConfig.lmaas.logging_mode: 7 is not allowed; allowed: one of FILE TCP KAFKA STDOUT FILEANDSTDOUT",
                "cimConfig.cim_settings: null is not allowed; allowed: an object",
                "cimConfig.app_settings.app_port: 0 is not allowed; allowed: a whole number from 1 to 65535 (port)",
                "cimConfig.app_settings.http2_enabled: \"yes\" is not allowed; allowed: true or false",
            ]
        );
        assert_eq!(
            problems(json!([1])),
            ["(the whole file): an array of 1 is not allowed; allowed: an object"]
        );
        assert_eq!(
            problems(json!({"cimConfig": {"lmaas": null}})),
            ["cimConfig.lmaas: null is not allowed; allowed: an object"]
        );
    }

    #[test]
    fn bad_text_is_an_error_and_never_a_panic() {
        let deep = [vec![b'['; 5000], vec![b']'; 5000]].concat();
        let deep_object = b"{\"a\":".repeat(5000);
        let wide = [
            b"[0".to_vec(),
            b",0".repeat(limits::CONFIG_VALUES + 1),
            b"]".to_vec(),
        ]
        .concat();
        for text in [
            b"".as_slice(),
            b"{",
            b"\0",
            b"nul",
            b"{\"cimConfig\":\"\xff\"}",
            b"{\"cimConfig\":1e999}",
            b"{} {}",
            b"\xef\xbb\xbf{}",
            &deep,
            &deep_object,
        ] {
            let error = CimDocument::parse(text).unwrap_err();
            assert!(matches!(error, DocumentError::Syntax(_)), "{error}");
        }
        assert_eq!(CimDocument::parse(&wide), Err(DocumentError::TooManyValues));
    }

    #[test]
    fn of_a_member_that_is_there_twice_the_last_counts() {
        let text = br#"{"cimConfig":{"lmaas":{"max_age":1,"max_age":2}}}"#;
        assert_eq!(CimDocument::parse(text).unwrap().config.lmaas.max_age, 2);
    }
}
