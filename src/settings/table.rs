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

/// What a member may be, for whoever describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A whole number.
    Number {
        /// The smallest that is allowed.
        min: u32,
        /// The largest.
        max: u32,
        /// What it counts.
        unit: &'static str,
    },
    /// `true` or `false`.
    Bool,
    /// One of these names.
    Choice(Vec<&'static str>),
    /// A text of at most [`limits::CONFIG_TEXT_BYTES`].
    Text,
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

    /// What it may be.
    pub fn shape(&self) -> Shape {
        match &self.kind {
            Kind::Number { min, max, unit, .. } => Shape::Number {
                min: *min,
                max: *max,
                unit,
            },
            Kind::Bool { .. } => Shape::Bool,
            Kind::Choice { names, .. } => Shape::Choice(names()),
            Kind::Text { .. } => Shape::Text,
        }
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
mod tests;
