//! The pod's annotation `xgvela.com/mmaas` (CONTRACT section 9): what is to be scraped, how often, and how much of it is kept.
//!
//! Every member is a text but `ports`, which is a list of texts. `path` is `/` when it is missing, `ports` none: the original's
//! defaults. It has none for the others. Members that are not known are somebody else's.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use ureq::http::uri::PathAndQuery;

use super::span;
use crate::limits::{
    ALIGNED_INTERVAL_FIRST_MS, ALIGNED_INTERVAL_LAST_MS, ALIGNED_PATH_BYTES, ALIGNED_PORTS,
    ALIGNED_SNAPSHOTS,
};
use crate::settings::problem::shown_json;

/// The annotation's name.
pub const NAME: &str = "xgvela.com/mmaas";

/// How the application's ports are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is to be scraped, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Path and query, at most [`ALIGNED_PATH_BYTES`].
    pub path: String,
    /// The application's ports, each once, at most [`ALIGNED_PORTS`].
    pub ports: Vec<u16>,
    /// How they are asked.
    pub scheme: Scheme,
    /// The time between two scrapes, whole milliseconds.
    pub interval: Duration,
    /// Snapshots that are kept.
    pub retention: usize,
}

/// What the annotation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No scrapes.
    Off,
    /// Scrapes.
    On(Plan),
}

/// An annotation that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// Not JSON at all.
    #[error("the annotation {NAME} is no JSON object")]
    NoObject,
    /// A member is missing, or is not what it may be.
    #[error("the annotation {NAME}: {member} is {found}; it may be {allowed}")]
    Member {
        /// Its name.
        member: &'static str,
        /// What it is, as it may be shown.
        found: String,
        /// What it may be.
        allowed: Allowed,
    },
}

/// What a member may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the texts below say it")]
pub enum Allowed {
    Scrape,
    Path,
    Ports,
    Scheme,
    Interval,
    Retention,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scrape => f.write_str("\"true\", or another text for no scrapes"),
            Self::Path => write!(
                f,
                "a text that begins with / and is a URL's path, at most {ALIGNED_PATH_BYTES} bytes"
            ),
            Self::Ports => write!(
                f,
                "a list of at most {ALIGNED_PORTS} texts, each a number from 1 to 65535 and none of them twice"
            ),
            Self::Scheme => f.write_str("\"http\" or \"https\""),
            Self::Interval => write!(
                f,
                "a text like \"15s\" or \"1m30s\", whole milliseconds, from {}s to {}s",
                ALIGNED_INTERVAL_FIRST_MS / 1000,
                ALIGNED_INTERVAL_LAST_MS / 1000
            ),
            Self::Retention => write!(f, "the text of a number from 1 to {ALIGNED_SNAPSHOTS}"),
        }
    }
}

impl Wanted {
    /// Reads the annotation's text.
    ///
    /// # Errors
    /// The first member that cannot be used. Of an annotation that asks for no scrapes `scrape` alone is looked at.
    pub fn parse(text: &str) -> Result<Self, AnnotationError> {
        let Ok(Value::Object(members)) = serde_json::from_str(text) else {
            return Err(AnnotationError::NoObject);
        };
        let members = Members(members);
        if members.text("scrape", Allowed::Scrape)? != "true" {
            return Ok(Self::Off);
        }
        let ports = members.ports()?;
        let scheme = match members.text("scheme", Allowed::Scheme)? {
            "https" => Scheme::Https,
            // Nobody is asked by it.
            "" if ports.is_empty() => Scheme::Http,
            "http" => Scheme::Http,
            _ => return Err(members.wrong("scheme", Allowed::Scheme)),
        };
        Ok(Self::On(Plan {
            path: members.path()?,
            ports,
            scheme,
            interval: members.interval()?,
            retention: members.retention()?,
        }))
    }
}

struct Members(Map<String, Value>);

impl Members {
    fn wrong(&self, member: &'static str, allowed: Allowed) -> AnnotationError {
        let found = match self.0.get(member) {
            None => "missing".to_owned(),
            Some(value) => shown_json(value),
        };
        AnnotationError::Member {
            member,
            found,
            allowed,
        }
    }

    /// The text of a member; empty when it is missing, as in the original.
    fn text(&self, member: &'static str, allowed: Allowed) -> Result<&str, AnnotationError> {
        match self.0.get(member) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(member, allowed)),
        }
    }

    fn path(&self) -> Result<String, AnnotationError> {
        let path = match self.text("path", Allowed::Path)? {
            "" => "/",
            path => path,
        };
        // What a URL may hold alone; a fragment is the client's own matter.
        let is_path = path.len() <= ALIGNED_PATH_BYTES
            && path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic())
            && !path.contains('#')
            && path.parse::<PathAndQuery>().is_ok();
        match is_path {
            true => Ok(path.to_owned()),
            false => Err(self.wrong("path", Allowed::Path)),
        }
    }

    fn ports(&self) -> Result<Vec<u16>, AnnotationError> {
        let wrong = || self.wrong("ports", Allowed::Ports);
        let texts = match self.0.get("ports") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(texts)) if texts.len() <= ALIGNED_PORTS => texts,
            Some(_) => return Err(wrong()),
        };
        let mut ports = Vec::with_capacity(texts.len());
        for text in texts {
            let port = text.as_str().and_then(number).ok_or_else(wrong)?;
            let port = u16::try_from(port).map_err(|_| wrong())?;
            if port == 0 || ports.contains(&port) {
                return Err(wrong());
            }
            ports.push(port);
        }
        Ok(ports)
    }

    fn interval(&self) -> Result<Duration, AnnotationError> {
        let text = self.text("measurementInterval", Allowed::Interval)?;
        let allowed = ALIGNED_INTERVAL_FIRST_MS..=ALIGNED_INTERVAL_LAST_MS;
        span::milliseconds(text)
            .filter(|ms| allowed.contains(ms))
            .map(Duration::from_millis)
            .ok_or_else(|| self.wrong("measurementInterval", Allowed::Interval))
    }

    fn retention(&self) -> Result<usize, AnnotationError> {
        let text = self.text("maxRetention", Allowed::Retention)?;
        number(text)
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| (1..=ALIGNED_SNAPSHOTS).contains(number))
            .ok_or_else(|| self.wrong("maxRetention", Allowed::Retention))
    }
}

/// Digits alone: no sign, no white space.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The golden sample, with some members changed; `null` takes one away.
    fn annotation(changes: Value) -> String {
        let golden = include_str!(
            "../../../tests/golden/11-metrics-aligned/annotation_xgvela.com_mmaas.json"
        );
        let mut members: Map<String, Value> = serde_json::from_str(golden).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(members.remove(name)),
                value => drop(members.insert(name.clone(), value.clone())),
            }
        }
        Value::Object(members).to_string()
    }

    fn plan(changes: Value) -> Plan {
        match Wanted::parse(&annotation(changes)) {
            Ok(Wanted::On(plan)) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_originals_annotation_is_read() {
        let expected = Plan {
            path: "/metrics".into(),
            ports: vec![39090],
            scheme: Scheme::Http,
            interval: Duration::from_secs(5),
            retention: 3,
        };
        assert_eq!(plan(json!({})), expected);
    }

    #[test]
    fn what_is_missing_is_as_in_the_original() {
        let bare = plan(json!({"path": null, "ports": null, "scheme": null}));
        assert_eq!((bare.path.as_str(), bare.ports.as_slice()), ("/", &[][..]));
        for member in ["scheme", "measurementInterval", "maxRetention"] {
            let error = Wanted::parse(&annotation(json!({ member: null }))).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(&format!("{member} is missing; it may be ")),
                "{text}"
            );
        }
    }

    #[test]
    fn scrapes_are_on_with_the_text_true_alone() {
        for off in [json!("false"), json!(""), json!("True"), Value::Null] {
            let text = annotation(json!({"scrape": off, "path": 7, "ports": "none"}));
            assert_eq!(Wanted::parse(&text), Ok(Wanted::Off), "{text}");
        }
        assert_eq!(Wanted::parse("{}"), Ok(Wanted::Off));
    }

    #[test]
    fn members_have_ranges() {
        let most = ALIGNED_SNAPSHOTS.to_string();
        let changed = plan(json!({
            "path": "/a/b?x=1&y=%20", "ports": ["1", "65535"], "scheme": "https",
            "measurementInterval": "1m30s", "maxRetention": most, "somebody": {"else's": 1}
        }));
        assert_eq!(changed.path, "/a/b?x=1&y=%20");
        assert_eq!(changed.ports, [1, 65535]);
        assert_eq!(changed.scheme, Scheme::Https);
        assert_eq!(changed.interval, Duration::from_secs(90));
        assert_eq!(changed.retention, ALIGNED_SNAPSHOTS);
        for interval in ["1s", "1h", "1500ms", "0.5m", "3600s"] {
            plan(json!({ "measurementInterval": interval }));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_may_be() {
        let seventeen: Vec<String> = (1..=17).map(|port| port.to_string()).collect();
        let many = (ALIGNED_SNAPSHOTS + 1).to_string();
        for (member, values) in [
            ("scrape", json!([true, 1, ["true"]])),
            (
                "path",
                json!([
                    "metrics",
                    "http://elsewhere/",
                    "/a b",
                    "/a#b",
                    "/é",
                    "/\n",
                    1,
                    format!("/{}", "x".repeat(1024))
                ]),
            ),
            (
                "ports",
                json!([
                    "9090",
                    9090,
                    [9090],
                    ["0"],
                    ["65536"],
                    ["-1"],
                    ["+1"],
                    ["9090 "],
                    ["x"],
                    [""],
                    ["1", "1"],
                    ["1", "01"],
                    seventeen,
                    {}
                ]),
            ),
            ("scheme", json!(["", "HTTP", "ftp", "http://", 1])),
            (
                "measurementInterval",
                json!([
                    "",
                    "15",
                    "0s",
                    "999ms",
                    "-5s",
                    "1h0.001s",
                    "2h",
                    "1.0005s",
                    "5 s",
                    "s",
                    15,
                    "99999999999999999999h"
                ]),
            ),
            (
                "maxRetention",
                json!(["", "0", "-1", "+1", "3.0", "x", " 3", many, 3]),
            ),
        ] {
            for value in values.as_array().unwrap() {
                let error = Wanted::parse(&annotation(json!({ member: value }))).unwrap_err();
                let text = error.to_string();
                assert!(
                    text.contains(&format!("{member} is ")) && text.contains("; it may be "),
                    "{value}: {text}"
                );
                assert!(
                    text.len() < 400 && !text.contains(char::is_control),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "true", "[]", "{\"scrape\":\"true\"", "\"{}\""] {
            assert_eq!(
                Wanted::parse(text),
                Err(AnnotationError::NoObject),
                "{text}"
            );
        }
    }
}
