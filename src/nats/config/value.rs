//! Values of a configuration, and how they are taken as what a key wants.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::duration;
use super::error::{ConfigError, Fault, Place};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Where its key stands; for one in an array, where it stands itself.
    pub place: Place,
    /// A `$NAME` has taken it: then its key need not be known.
    pub(super) is_variable: Cell<bool>,
}

/// What a value can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Quoted or bare.
    Text(String),
    /// With its suffix applied: `8k` is 8000, `8kb` 8192.
    Integer(i64),
    /// With a point.
    Float(f64),
    /// `true`, `yes`, `on`, or `false`, `no`, `off`.
    Bool(bool),
    /// `[…]`.
    Array(Vec<Value>),
    /// `{…}`.
    Block(Block),
}

/// Values by their keys; of two with one key the last counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block(pub(super) BTreeMap<String, Value>);

impl PartialEq for Value {
    /// Wherever they stand.
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Value {
    /// A value at `place`.
    pub(super) fn new(kind: Kind, place: Place) -> Self {
        Self {
            kind,
            place,
            is_variable: Cell::new(false),
        }
    }

    /// Values in it, itself one of them, and bytes of its texts and keys.
    pub(super) fn weight(&self) -> (usize, usize) {
        let add = |(values, bytes): (usize, usize), (more, more_bytes)| {
            (values + more, bytes + more_bytes)
        };
        match &self.kind {
            Kind::Text(text) => (1, text.len()),
            Kind::Integer(_) | Kind::Float(_) | Kind::Bool(_) => (1, 0),
            Kind::Array(values) => values.iter().map(Self::weight).fold((1, 0), add),
            Kind::Block(block) => {
                let entries = block.0.iter();
                entries
                    .map(|(key, value)| add(value.weight(), (0, key.len())))
                    .fold((1, 0), add)
            }
        }
    }

    /// The error that `fault` is here.
    pub fn error(&self, fault: Fault) -> ConfigError {
        ConfigError {
            place: self.place.clone(),
            fault,
        }
    }

    /// The error that the value of `key` is not `allowed`.
    pub fn wrong(&self, key: &str, allowed: &'static str) -> ConfigError {
        self.error(Fault::Value {
            key: key.to_owned(),
            allowed,
        })
    }

    /// The error that no such key as `key`, whose value this is, is known here; none when it is there for a variable.
    ///
    /// # Errors
    /// That one.
    pub fn unknown(&self, key: &str) -> Result<(), ConfigError> {
        if self.is_variable.get() {
            return Ok(());
        }
        Err(self.error(Fault::UnknownKey {
            key: key.to_owned(),
        }))
    }

    /// The text.
    ///
    /// # Errors
    /// It is none.
    pub fn text(&self, key: &str) -> Result<&str, ConfigError> {
        match &self.kind {
            Kind::Text(text) => Ok(text),
            _ => Err(self.wrong(key, "a text; in quotes when it looks like something else")),
        }
    }

    /// The truth value.
    ///
    /// # Errors
    /// It is none.
    pub fn boolean(&self, key: &str) -> Result<bool, ConfigError> {
        match self.kind {
            Kind::Bool(value) => Ok(value),
            _ => Err(self.wrong(key, "true or false")),
        }
    }

    /// The integer.
    ///
    /// # Errors
    /// It is none.
    pub fn integer(&self, key: &str) -> Result<i64, ConfigError> {
        match self.kind {
            Kind::Integer(value) => Ok(value),
            _ => Err(self.wrong(key, "an integer")),
        }
    }

    /// The integer, when it is of this range of `T`.
    ///
    /// # Errors
    /// It is none, or another.
    pub fn number<T: TryFrom<i64>>(
        &self,
        key: &str,
        allowed: &'static str,
    ) -> Result<T, ConfigError> {
        T::try_from(self.integer(key)?).map_err(|_| self.wrong(key, allowed))
    }

    /// A duration: a text such as `1m30s`, or a number of seconds.
    ///
    /// # Errors
    /// It is none, or negative.
    pub fn duration(&self, key: &str) -> Result<Duration, ConfigError> {
        let found = match &self.kind {
            Kind::Text(text) => duration::parse(text),
            Kind::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            Kind::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Kind::Bool(_) | Kind::Array(_) | Kind::Block(_) => None,
        };
        found.ok_or_else(|| self.wrong(key, "a duration such as \"30s\" or a number of seconds"))
    }

    /// The values of the array.
    ///
    /// # Errors
    /// It is none.
    pub fn array(&self, key: &str) -> Result<&[Value], ConfigError> {
        match &self.kind {
            Kind::Array(values) => Ok(values),
            _ => Err(self.wrong(key, "an array")),
        }
    }

    /// The block.
    ///
    /// # Errors
    /// It is none.
    pub fn block(&self, key: &str) -> Result<&Block, ConfigError> {
        match &self.kind {
            Kind::Block(block) => Ok(block),
            _ => Err(self.wrong(key, "a block")),
        }
    }
}

impl Block {
    /// The value of this very key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Keys in lower case, in which nats-server looks at them, and their values.
    pub fn entries(&self) -> impl Iterator<Item = (String, &Value)> {
        let entries = self.0.iter();
        entries.map(|(key, value)| (key.to_lowercase(), value))
    }
}
