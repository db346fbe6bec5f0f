//! The objects `lmaas` and `app_settings` of a registration (CONTRACT section 3): other values for members of cim.json,
//! used when there is no mounted cim.json.
//!
//! A number that is 0 or less, an empty text, `null` and a missing member mean "keep". A wrong type makes the whole
//! registration a bad request, as in the original. A value outside its range is left out and reported, and the
//! registration goes on: the application must be able to start, and the original would have taken it.

use serde_json::Value;

use super::model::CimConfig;
use super::problem::{Problem, Problems, shown_json};
use super::table::{MEMBERS, Member, Wrong};

/// What a registration asks for.
#[derive(Debug, Default)]
pub struct Overrides {
    /// The members with their new values, each of them allowed.
    pub(super) values: Vec<(&'static Member, Value)>,
    /// The members that were left out because their value is outside the range.
    pub refused: Problems,
}

impl Overrides {
    /// Reads the two objects.
    ///
    /// # Errors
    /// Values of a wrong type: the registration is a bad request.
    pub fn read(lmaas: Option<&Value>, app_settings: Option<&Value>) -> Result<Self, Problems> {
        let mut overrides = Self::default();
        let mut wrong = Problems::default();
        for (section, value) in [("lmaas", lmaas), ("app_settings", app_settings)] {
            let value = value.unwrap_or(&Value::Null);
            match value {
                Value::Null => {}
                Value::Object(object) => {
                    for member in MEMBERS.iter().filter(|m| m.section == section) {
                        let value = object.get(member.name).filter(|value| !means_keep(value));
                        if let Some(value) = value {
                            overrides.take(member, value, &mut wrong);
                        }
                    }
                }
                other => wrong.push(Problem {
                    path: section.to_owned(),
                    value: shown_json(other),
                    allowed: "an object".to_owned(),
                }),
            }
        }
        if wrong.is_empty() {
            Ok(overrides)
        } else {
            Err(wrong)
        }
    }

    fn take(&mut self, member: &'static Member, value: &Value, wrong: &mut Problems) {
        let problem = || Problem {
            path: format!("{}.{}", member.section, member.name),
            ..member.problem(value)
        };
        match member.set(&mut CimConfig::default(), value) {
            Ok(()) => self.values.push((member, value.clone())),
            Err(Wrong::Range) => self.refused.push(problem()),
            Err(Wrong::Type) => wrong.push(problem()),
        }
    }
}

fn means_keep(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64().is_some_and(|n| n <= 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(overrides: &Overrides) -> Vec<&str> {
        overrides.values.iter().map(|(m, _)| m.name).collect()
    }

    #[test]
    fn nothing_zero_and_empty_mean_keep() {
        for lmaas in [
            json!(null),
            json!({}),
            json!({"buffer_size": 0, "max_age": -1, "logging_mode": "", "flush_timeout": null, "other": []}),
        ] {
            let overrides = Overrides::read(Some(&lmaas), None).unwrap();
            assert!(
                overrides.values.is_empty() && overrides.refused.is_empty(),
                "{lmaas}"
            );
        }
    }

    #[test]
    fn good_values_are_taken_and_those_out_of_range_left_out() {
        let lmaas = json!({"buffer_size": 2000, "max_age": 31, "prefer_local_daemonset": false});
        let app = json!({"app_port": 65536, "http2_enabled": true});
        let overrides = Overrides::read(Some(&lmaas), Some(&app)).unwrap();
        assert_eq!(
            names(&overrides),
            ["buffer_size", "prefer_local_daemonset", "http2_enabled"]
        );
        let refused: Vec<_> = overrides.refused.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(refused, ["lmaas.max_age", "app_settings.app_port"]);
    }

    #[test]
    fn wrong_types_are_a_bad_request() {
        for (lmaas, app, error) in [
            (json!(7), json!(null), "lmaas: 7 is"),
            (
                json!({"buffer_size": "x"}),
                json!(null),
                "lmaas.buffer_size: \"x\" is",
            ),
            (
                json!({"max_age": 1.5}),
                json!(null),
                "lmaas.max_age: 1.5 is",
            ),
            (
                json!(null),
                json!({"http2_enabled": "true"}),
                "app_settings.http2_enabled: \"true\" is",
            ),
        ] {
            let problems = Overrides::read(Some(&lmaas), Some(&app)).unwrap_err();
            assert!(problems.to_string().starts_with(error), "{problems}");
        }
    }
}
