//! The application's answer on CONFIG (CONTRACT section 2): `change-set-key`, `revision`, `status`, `remarks`.
//!
//! Read as leniently as can be without guessing: an answer that is not understood is a failure of the change set a minute
//! later. Other members are skipped without a copy, so that no payload becomes more than a few texts of its own size.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::key::{ChangeSetKey, revision_number};
use crate::limits::{CHANGE_SET_KEY_BYTES, REMARKS_BYTES};
use crate::settings::problem;

/// Bytes of a key that are kept: a cut in the middle of a character leaves up to 3 less, and more than a key may have.
const KEPT_KEY_BYTES: usize = CHANGE_SET_KEY_BYTES + 4;

/// What the application says about a change set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `success`.
    Success,
    /// `unused`.
    Unused,
    /// `failure`, anything else, or nothing.
    Failure,
}

/// The member `revision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerRevision {
    /// There is none.
    Absent,
    /// A number, or a text that is one.
    Number(u64),
    /// Something else.
    Unusable,
}

/// An answer on CONFIG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigAnswer {
    /// The whole key of the change set that it is about; of one that is too long for a change set, the beginning.
    pub change_set_key: String,
    /// The revision that it names.
    pub revision: AnswerRevision,
    /// The outcome.
    pub status: Status,
    /// What the application adds, as a log line may show it: escaped, and at most [`REMARKS_BYTES`] of it.
    pub remarks: String,
}

/// A message on CONFIG that is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// No JSON object.
    #[error("an answer on CONFIG is a JSON object")]
    NotAnObject,
    /// No member `change-set-key` that is a text.
    #[error("an answer on CONFIG has a text change-set-key")]
    NoKey,
}

impl ConfigAnswer {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no JSON object, or does not name a change set.
    pub fn parse(payload: &[u8]) -> Result<Self, AnswerError> {
        // A bad byte in the remarks is no reason to lose the outcome.
        let text = String::from_utf8_lossy(payload);
        let members: Members = serde_json::from_str(&text).map_err(|_| AnswerError::NotAnObject)?;
        let Some(Scalar::Text(mut change_set_key)) = members.key else {
            return Err(AnswerError::NoKey);
        };
        if change_set_key.len() > KEPT_KEY_BYTES {
            // Still longer than any change set's: it is nobody's.
            change_set_key = problem::cut(&change_set_key, KEPT_KEY_BYTES).to_owned();
        }
        let text_of = |scalar| match scalar {
            Some(Scalar::Text(text)) => text,
            _ => String::new(),
        };
        Ok(Self {
            change_set_key,
            revision: match members.revision {
                None => AnswerRevision::Absent,
                Some(Scalar::Number(number)) => AnswerRevision::Number(number),
                Some(Scalar::Text(text)) => match revision_number(&text) {
                    Some(number) => AnswerRevision::Number(number),
                    None => AnswerRevision::Unusable,
                },
                Some(Scalar::Other) => AnswerRevision::Unusable,
            },
            status: match text_of(members.status).as_str() {
                "success" => Status::Success,
                "unused" => Status::Unused,
                _ => Status::Failure,
            },
            remarks: {
                let remarks = text_of(members.remarks);
                let escaped = problem::escaped(problem::cut(&remarks, REMARKS_BYTES));
                problem::cut(&escaped, REMARKS_BYTES).to_owned()
            },
        })
    }

    /// It is about this change set: the keys are the same, byte for byte.
    pub fn is_for(&self, key: &ChangeSetKey) -> bool {
        self.change_set_key == key.text()
    }

    /// The revision that it names is not the key's.
    pub fn names_another_revision(&self, key: &ChangeSetKey) -> bool {
        match self.revision {
            AnswerRevision::Absent => false,
            AnswerRevision::Number(number) => number != key.number(),
            AnswerRevision::Unusable => true,
        }
    }
}

/// The members that count; of a member that comes twice, the last.
#[derive(Default)]
struct Members {
    key: Option<Scalar>,
    revision: Option<Scalar>,
    status: Option<Scalar>,
    remarks: Option<Scalar>,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<String>()? {
                    let member = match name.as_str() {
                        "change-set-key" => &mut members.key,
                        "revision" => &mut members.revision,
                        "status" => &mut members.status,
                        "remarks" => &mut members.remarks,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *member = Some(map.next_value()?);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A member's value, as far as it can count.
enum Scalar {
    Text(String),
    Number(u64),
    Other,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }
            /// `101.0` is what some JSON libraries make of 101; doubles are whole numbers up to 2^53.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                let whole = (0.0..=9_007_199_254_740_992.0).contains(&number);
                Ok(if whole && number.fract() == 0.0 {
                    Scalar::Number(number as u64)
                } else {
                    Scalar::Other
                })
            }
            fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_change_set_can_have_is_cut_and_stays_foreign() {
        let longest = format!(
            "change-set/n/m/v/ms/{}/1",
            "k".repeat(CHANGE_SET_KEY_BYTES - 22)
        );
        assert_eq!(longest.len(), CHANGE_SET_KEY_BYTES);
        let key = ChangeSetKey::parse(&longest).unwrap();
        for (more, is_for) in [("", true), ("x", false), ("xxxxx", false), ("ééééé", false)] {
            for repeated in [1, 100_000] {
                let text = format!("{longest}{}", more.repeat(repeated));
                let payload = serde_json::json!({"change-set-key": text}).to_string();
                let answer = ConfigAnswer::parse(payload.as_bytes()).unwrap();
                assert_eq!(answer.is_for(&key), is_for, "{more}");
                assert!(answer.change_set_key.capacity() <= KEPT_KEY_BYTES);
            }
        }
    }

    const KEY: &str = "change-set/ns1/ms1/v1/ms/app.json/101";

    #[test]
    fn answers_in_every_form_that_applications_write() {
        use AnswerRevision::{Absent, Number, Unusable};
        use Status::{Failure, Success, Unused};
        for (members, revision, status, remarks) in [
            (
                r#""revision":"101","status":"success","remarks":"ok""#,
                Number(101),
                Success,
                "ok",
            ),
            (
                r#""revision":101,"status":"unused""#,
                Number(101),
                Unused,
                "",
            ),
            (
                r#""revision":101.0,"status":"failure""#,
                Number(101),
                Failure,
                "",
            ),
            (
                r#""revision":"0101","status":"success""#,
                Number(101),
                Success,
                "",
            ),
            (r#""status":"success""#, Absent, Success, ""),
            (r#""revision":101"#, Number(101), Failure, ""),
            (
                r#""revision":null,"status":"Success""#,
                Unusable,
                Failure,
                "",
            ),
            (
                r#""revision":-1,"status":" success""#,
                Unusable,
                Failure,
                "",
            ),
            (r#""revision":"","status":true"#, Unusable, Failure, ""),
            (
                r#""revision":"latest","status":["success"]"#,
                Unusable,
                Failure,
                "",
            ),
            (
                r#""revision":1e300,"status":{"success":1}"#,
                Unusable,
                Failure,
                "",
            ),
            (
                r#""revision":1.5,"status":null,"remarks":7"#,
                Unusable,
                Failure,
                "",
            ),
            (
                r#""revision":[101,[]],"status":"success""#,
                Unusable,
                Success,
                "",
            ),
            (
                r#""x":{"status":"failure"},"y":[1,{}],"status":"success""#,
                Absent,
                Success,
                "",
            ),
            (
                r#""status":"failure","status":"success""#,
                Absent,
                Success,
                "",
            ),
            (
                r#""status":"\u0073uccess","remarks":"a\nb""#,
                Absent,
                Success,
                "a\\nb",
            ),
        ] {
            let payload = format!(r#" {{"change-set-key":"{KEY}",{members}}} "#);
            let answer = ConfigAnswer::parse(payload.as_bytes()).unwrap();
            assert_eq!(
                answer,
                ConfigAnswer {
                    change_set_key: KEY.into(),
                    revision,
                    status,
                    remarks: remarks.into()
                },
                "{payload}"
            );
        }
    }

    #[test]
    fn messages_that_are_no_answers() {
        use AnswerError::{NoKey, NotAnObject};
        for (payload, error) in [
            (&b""[..], NotAnObject),
            (b"success", NotAnObject),
            (b"[]", NotAnObject),
            (b"null", NotAnObject),
            (b"{\"change-set-key\":\"a\"", NotAnObject),
            (b"{\"change-set-key\":\"a\"} {}", NotAnObject),
            (b"{}", NoKey),
            (b"{\"change-set-key\":5,\"status\":\"success\"}", NoKey),
            (b"{\"Change-Set-Key\":\"a\"}", NoKey),
        ] {
            assert_eq!(ConfigAnswer::parse(payload), Err(error));
        }
        let deep = "[".repeat(100_000);
        let deep = format!(r#"{{"change-set-key":"a","x":{deep}"#);
        assert_eq!(ConfigAnswer::parse(deep.as_bytes()), Err(NotAnObject));
    }

    #[test]
    fn a_bad_byte_in_the_remarks_does_not_lose_the_outcome() {
        let payload = b"{\"change-set-key\":\"k\",\"status\":\"success\",\"remarks\":\"\xff\"}";
        let answer = ConfigAnswer::parse(payload).unwrap();
        assert_eq!(
            (answer.status, answer.remarks.as_str()),
            (Status::Success, "\u{fffd}")
        );
    }

    #[test]
    fn remarks_are_cut() {
        let payload = format!(
            r#"{{"change-set-key":"k","remarks":"{}"}}"#,
            "\\n".repeat(1000)
        );
        let answer = ConfigAnswer::parse(payload.as_bytes()).unwrap();
        assert_eq!(answer.remarks, "\\n".repeat(REMARKS_BYTES / 2));
    }

    #[test]
    fn an_answer_is_for_the_very_same_key_and_its_revision_is_compared_as_a_number() {
        let key = ChangeSetKey::parse("change-set/ns1/ms1/v1/ms/app.json/0101").unwrap();
        for (name, revision, is_for, another) in [
            (key.text(), r#""101""#, true, false),
            (key.text(), "101", true, false),
            (key.text(), "102", true, true),
            (key.text(), r#""x""#, true, true),
            (KEY, "101", false, false),
            (
                "change-set/ns1/ms1/v1/ms/app.json/0101 ",
                "101",
                false,
                false,
            ),
        ] {
            let payload = format!(r#"{{"change-set-key":"{name}","revision":{revision}}}"#);
            let answer = ConfigAnswer::parse(payload.as_bytes()).unwrap();
            assert_eq!(answer.is_for(&key), is_for, "{payload}");
            assert_eq!(answer.names_another_revision(&key), another, "{payload}");
        }
    }
}
