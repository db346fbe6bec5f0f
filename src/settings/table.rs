//! The members of cim.json: one table of path, kind, range, default and whether a change takes effect while CIM runs
//! (CONTRACT section 1). Defaults are those of the types in [`super::model`].

use serde_json::Value;

use super::model::{CimConfig, LogLevel, LoggingMode};
use super::problem::{Problem, shown_json};
use crate::limits;

/// One member of cim.json.
#[derive(Debug)]
pub struct Member {
    /// The object under `cimConfig`.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// A change takes effect while CIM runs; else at its next start.
    pub at_run_time: bool,
    kind: Kind,
}

/// What a member may be, and where it goes.
#[derive(Debug)]
enum Kind {
    Number {
        min: u32,
        max: u32,
        /// Outside of it the value is taken with a warning.
        usual: (u32, u32),
        unit: &'static str,
        get: fn(&CimConfig) -> u32,
        set: fn(&mut CimConfig, u32),
    },
    Bool {
        get: fn(&CimConfig) -> bool,
        set: fn(&mut CimConfig, bool),
    },
    Choice {
        names: fn() -> Vec<&'static str>,
        get: fn(&CimConfig) -> &'static str,
        /// False: no such name.
        set: fn(&mut CimConfig, &str) -> bool,
    },
    Text {
        get: fn(&CimConfig) -> Option<&str>,
        set: fn(&mut CimConfig, Option<String>),
    },
}

/// Why a value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A string where a number belongs, a fraction, …
    Type,
    /// The right type, outside what is allowed.
    Range,
}

macro_rules! number {
    ($section:ident . $name:ident, $min:literal ..= $max:literal, $unit:literal, $run_time:literal) => {
        Member {
            section: stringify!($section),
            name: stringify!($name),
            at_run_time: $run_time,
            kind: Kind::Number {
                min: $min,
                max: $max,
                usual: ($min, $max),
                unit: $unit,
                get: |config| config.$section.$name,
                set: |config, n| config.$section.$name = n,
            },
        }
    };
}

macro_rules! boolean {
    ($section:ident . $name:ident, $run_time:literal) => {
        Member {
            section: stringify!($section),
            name: stringify!($name),
            at_run_time: $run_time,
            kind: Kind::Bool {
                get: |config| config.$section.$name,
                set: |config, on| config.$section.$name = on,
            },
        }
    };
}

macro_rules! choice {
    ($section:ident . $name:ident, $type:ty, $run_time:literal) => {
        Member {
            section: stringify!($section),
            name: stringify!($name),
            at_run_time: $run_time,
            kind: Kind::Choice {
                names: || <$type>::NAMES.iter().map(|(name, _)| *name).collect(),
                get: |config| config.$section.$name.name(),
                set: |config, wanted| {
                    let found = <$type>::NAMES.iter().find(|(name, _)| *name == wanted);
                    if let Some((_, value)) = found {
                        config.$section.$name = *value;
                    }
                    found.is_some()
                },
            },
        }
    };
}

/// Every member of cim.json that CIM knows, in the order in which it is written.
#[rustfmt::skip]
pub static MEMBERS: [Member; 16] = [
    number!(lmaas.max_file_size_in_mb, 1..=50, "MB", true),
    number!(lmaas.max_backup_files, 1..=20, "files", true),
    number!(lmaas.max_age, 1..=30, "days", true),
    number!(lmaas.buffer_size, 1000..=100000, "bytes", true),
    number!(lmaas.flush_timeout, 5..=30, "seconds", true),
    choice!(lmaas.logging_mode, LoggingMode, true),
    boolean!(lmaas.prefer_local_daemonset, false),
    boolean!(cim_settings.enable_kpi, false),
    choice!(cim_settings.log_level, LogLevel, true),
    boolean!(cim_settings.cim_file_log, true),
    number!(cim_settings.num_garp_count, 0..=5, "announcements", true),
    number!(cim_settings.remote_svc_retry_count, 1..=600, "tries", true),
    number!(cim_settings.ttl_timeout, 1..=600, "seconds", true),
    Member {
        section: "cim_settings",
        name: "kafka_client_id",
        at_run_time: false,
        kind: Kind::Text {
            get: |config| config.cim_settings.kafka_client_id.as_deref(),
            set: |config, text| config.cim_settings.kafka_client_id = text,
        },
    },
    Member {
        section: "app_settings",
        name: "app_port",
        at_run_time: true,
        kind: Kind::Number {
            min: 1,
            max: 65535,
            usual: (5000, 10000),
            unit: "port",
            get: |config| u32::from(config.app_settings.app_port),
            set: |config, port| config.app_settings.app_port = u16::try_from(port).unwrap_or(u16::MAX),
        },
    },
    boolean!(app_settings.http2_enabled, false),
];

impl Member {
    /// `cimConfig.lmaas.buffer_size`.
    pub fn path(&self) -> String {
        format!("cimConfig.{}.{}", self.section, self.name)
    }

    /// What is allowed, for an error: `a whole number from 5 to 30 (seconds)`.
    pub fn allowed(&self) -> String {
        match &self.kind {
            Kind::Number { min, max, unit, .. } => {
                format!("a whole number from {min} to {max} ({unit})")
            }
            Kind::Bool { .. } => "true or false".to_owned(),
            Kind::Choice { names, .. } => format!("one of {}", names().join(" ")),
            Kind::Text { .. } => format!(
                "a text of at most {} bytes without control characters",
                limits::CONFIG_TEXT_BYTES
            ),
        }
    }

    /// Puts a value from outside into `config`.
    ///
    /// # Errors
    /// Not allowed here; `config` is as before.
    pub fn set(&self, config: &mut CimConfig, value: &Value) -> Result<(), Wrong> {
        match (&self.kind, value) {
            (Kind::Number { min, max, set, .. }, Value::Number(number)) => {
                if number.is_f64() {
                    return Err(Wrong::Type);
                }
                let number = number.as_u64().and_then(|n| u32::try_from(n).ok());
                match number.filter(|n| (min..=max).contains(&n)) {
                    Some(n) => set(config, n),
                    None => return Err(Wrong::Range),
                }
            }
            (Kind::Bool { set, .. }, Value::Bool(on)) => set(config, *on),
            (Kind::Choice { set, .. }, Value::String(name)) => {
                if !set(config, name) {
                    return Err(Wrong::Range);
                }
            }
            (Kind::Text { set, .. }, Value::String(text)) => {
                if text.len() > limits::CONFIG_TEXT_BYTES || text.chars().any(char::is_control) {
                    return Err(Wrong::Range);
                }
                set(config, Some(text.clone()).filter(|text| !text.is_empty()));
            }
            _ => return Err(Wrong::Type),
        }
        Ok(())
    }

    /// The value in `config`; `Null` is a text that is not set.
    pub fn get(&self, config: &CimConfig) -> Value {
        match &self.kind {
            Kind::Number { get, .. } => get(config).into(),
            Kind::Bool { get, .. } => get(config).into(),
            Kind::Choice { get, .. } => get(config).into(),
            Kind::Text { get, .. } => get(config).map_or(Value::Null, Value::from),
        }
    }

    /// Makes this member of `to` that of `from`.
    pub fn copy(&self, from: &CimConfig, to: &mut CimConfig) {
        match &self.kind {
            Kind::Number { get, set, .. } => set(to, get(from)),
            Kind::Bool { get, set } => set(to, get(from)),
            Kind::Choice { get, set, .. } => {
                set(to, get(from));
            }
            Kind::Text { get, set } => set(to, get(from).map(str::to_owned)),
        }
    }

    /// What is unusual about the value in `config`, though it is allowed.
    pub fn warning(&self, config: &CimConfig) -> Option<String> {
        let Kind::Number { usual, get, .. } = &self.kind else {
            return None;
        };
        let (value, (low, high)) = (get(config), *usual);
        (!(low..=high).contains(&value)).then(|| {
            let path = self.path();
            format!("{path}: {value} is outside the usual {low} to {high}")
        })
    }

    /// The error for a value that [`Member::set`] did not take.
    pub fn problem(&self, value: &Value) -> Problem {
        Problem {
            path: self.path(),
            value: shown_json(value),
            allowed: self.allowed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn member(name: &str) -> &'static Member {
        MEMBERS.iter().find(|m| m.name == name).unwrap()
    }

    #[test]
    fn every_number_is_taken_within_its_range_and_refused_next_to_it() {
        for (name, low, high, default, at_run_time) in [
            ("max_file_size_in_mb", 1_i64, 50_i64, 10, true),
            ("max_backup_files", 1, 20, 10, true),
            ("max_age", 1, 30, 7, true),
            ("buffer_size", 1000, 100_000, 10_000, true),
            ("flush_timeout", 5, 30, 30, true),
            ("num_garp_count", 0, 5, 1, true),
            ("remote_svc_retry_count", 1, 600, 60, true),
            ("ttl_timeout", 1, 600, 1, true),
            ("app_port", 1, 65_535, 9999, true),
        ] {
            let member = member(name);
            assert_eq!(member.get(&CimConfig::default()), json!(default), "{name}");
            assert_eq!(member.at_run_time, at_run_time, "{name}");
            for value in [low, high] {
                let mut config = CimConfig::default();
                assert_eq!(member.set(&mut config, &json!(value)), Ok(()), "{name}");
                assert_eq!(member.get(&config), json!(value), "{name}");
            }
            for value in [
                json!(low - 1),
                json!(high + 1),
                json!(i64::MIN),
                json!(u64::MAX),
            ] {
                let mut config = CimConfig::default();
                let result = member.set(&mut config, &value);
                assert_eq!(result, Err(Wrong::Range), "{name} {value}");
                assert_eq!(config, CimConfig::default(), "{name} {value}");
            }
            for value in [
                json!("7"),
                json!(7.5),
                json!(7.0),
                json!(null),
                json!([7]),
                json!({}),
                json!(true),
            ] {
                let mut config = CimConfig::default();
                let result = member.set(&mut config, &value);
                assert_eq!(result, Err(Wrong::Type), "{name} {value}");
                assert_eq!(config, CimConfig::default(), "{name} {value}");
            }
        }
    }

    #[test]
    fn booleans_choices_and_texts_take_what_they_may() {
        let text = json!("x".repeat(limits::CONFIG_TEXT_BYTES));
        let long = json!("x".repeat(limits::CONFIG_TEXT_BYTES + 1));
        for (name, good, range, at_run_time) in [
            (
                "prefer_local_daemonset",
                vec![json!(true), json!(false)],
                vec![],
                false,
            ),
            ("enable_kpi", vec![json!(true), json!(false)], vec![], false),
            (
                "cim_file_log",
                vec![json!(true), json!(false)],
                vec![],
                true,
            ),
            (
                "http2_enabled",
                vec![json!(true), json!(false)],
                vec![],
                false,
            ),
            (
                "logging_mode",
                ["FILE", "TCP", "KAFKA", "STDOUT", "FILEANDSTDOUT"]
                    .map(|m| json!(m))
                    .to_vec(),
                vec![json!("file"), json!(""), json!("FILE ")],
                true,
            ),
            (
                "log_level",
                ["ALL", "DEBUG", "INFO", "WARNING", "ERROR", "EXCEPTION"]
                    .map(|m| json!(m))
                    .to_vec(),
                vec![json!("TRACE"), json!("")],
                true,
            ),
            (
                "kafka_client_id",
                vec![text, json!("a b")],
                vec![long, json!("a\nb")],
                false,
            ),
        ] {
            let member = member(name);
            assert_eq!(member.at_run_time, at_run_time, "{name}");
            for value in good {
                let mut config = CimConfig::default();
                assert_eq!(member.set(&mut config, &value), Ok(()), "{name} {value}");
                assert_eq!(member.get(&config), value, "{name}");
                let mut copy = CimConfig::default();
                member.copy(&config, &mut copy);
                assert_eq!(copy, config, "{name} {value}");
            }
            for value in range {
                let result = member.set(&mut CimConfig::default(), &value);
                assert_eq!(result, Err(Wrong::Range), "{name} {value}");
            }
            for value in [json!(1), json!(null), json!([]), json!({})] {
                let result = member.set(&mut CimConfig::default(), &value);
                assert_eq!(result, Err(Wrong::Type), "{name} {value}");
            }
        }
        let mut config = CimConfig::default();
        assert_eq!(
            member("kafka_client_id").set(&mut config, &json!("")),
            Ok(())
        );
        assert_eq!(config.cim_settings.kafka_client_id, None);
    }

    #[test]
    fn an_application_port_outside_the_usual_ones_is_warned_about() {
        for (port, warned) in [(4999, true), (5000, false), (10_000, false), (10_001, true)] {
            let mut config = CimConfig::default();
            config.app_settings.app_port = port;
            assert_eq!(
                member("app_port").warning(&config).is_some(),
                warned,
                "{port}"
            );
        }
    }

    #[test]
    fn an_error_names_path_value_and_what_is_allowed() {
        assert_eq!(
            member("buffer_size").problem(&json!(-5)).to_string(),
            "cimConfig.lmaas.buffer_size: -5 is not allowed; allowed: a whole number from 1000 to 100000 (bytes)"
        );
        assert_eq!(
            member("logging_mode").problem(&json!("DISK")).to_string(),
            "cimConfig.lmaas.logging_mode: \"DISK\" is not allowed; allowed: one of FILE TCP KAFKA STDOUT FILEANDSTDOUT"
        );
    }
}
