//! What one subscription wants, and how it is read from the body of a request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FilterError;
use crate::limits::{SUBSCRIPTION_VALUE_BYTES, SUBSCRIPTION_VALUES};

/// The members of a request, in the order of [`Filter::fields`].
const MEMBERS: [&str; 4] = [
    "localEventName",
    "nfNamingCode",
    "nfcNamingCode",
    "localNfId",
];

/// Values by field: a record matches when each field that is given has one of its values. An empty field is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// Never empty.
    local_event_name: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nf_naming_code: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nfc_naming_code: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    local_nf_id: Vec<String>,
}

impl Filter {
    /// Reads the body of a request as the original does: members are found whatever their case (the header is called `localNfID`), other
    /// members are ignored, and `null` is as good as none. Empty values are left out.
    ///
    /// # Errors
    /// It is no subscription: the text is the answer.
    pub fn parse(body: &[u8]) -> Result<Self, FilterError> {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err(FilterError::Body);
        };
        let mut fields = [const { Vec::new() }; 4];
        for (name, value) in members {
            let field = MEMBERS.iter().zip(&mut fields);
            if let Some((_, values)) = field
                .into_iter()
                .find(|(member, _)| name.eq_ignore_ascii_case(member))
            {
                *values = texts(value)?;
            }
        }
        let [
            local_event_name,
            nf_naming_code,
            nfc_naming_code,
            local_nf_id,
        ] = fields;
        let filter = Self {
            local_event_name,
            nf_naming_code,
            nfc_naming_code,
            local_nf_id,
        };
        filter.check()?;
        Ok(filter)
    }

    /// Within the bounds?
    ///
    /// # Errors
    /// It is not; never [`FilterError::Body`].
    pub(super) fn check(&self) -> Result<(), FilterError> {
        if self.local_event_name.is_empty() {
            return Err(FilterError::NoEventName);
        }
        for (name, values) in MEMBERS.into_iter().zip(self.fields()) {
            if values.len() > SUBSCRIPTION_VALUES {
                return Err(FilterError::TooManyValues(name));
            }
            if values.iter().any(|v| v.len() > SUBSCRIPTION_VALUE_BYTES) {
                return Err(FilterError::LongValue(name));
            }
        }
        Ok(())
    }

    /// The values by field.
    pub(super) fn fields(&self) -> [&[String]; 4] {
        [
            &self.local_event_name,
            &self.nf_naming_code,
            &self.nfc_naming_code,
            &self.local_nf_id,
        ]
    }

    /// Bytes of all values.
    pub(super) fn bytes(&self) -> usize {
        self.fields()
            .iter()
            .copied()
            .flatten()
            .map(String::len)
            .sum()
    }

    /// Both want the same records, in whatever order that is said.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let sets = |filter: &Self| {
            filter
                .fields()
                .map(|values| values.iter().cloned().collect())
        };
        let (one, two): ([std::collections::BTreeSet<String>; 4], _) = (sets(self), sets(other));
        one == two
    }
}

/// The values of a member.
fn texts(value: Value) -> Result<Vec<String>, FilterError> {
    let values = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(values) => values,
        _ => return Err(FilterError::Body),
    };
    let mut texts = Vec::new();
    for value in values {
        match value {
            Value::String(text) if !text.is_empty() => texts.push(text),
            Value::String(_) | Value::Null => {}
            _ => return Err(FilterError::Body),
        }
    }
    Ok(texts)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
