//! common-infra.json: where etcd, Kafka and the log collector are. The file is shared with others, so members that CIM
//! does not know are passed over. An empty text is the same as none.

use serde_json::{Map, Value};

use super::address::{self, ENDPOINTS, HOST_PORT};
use super::document::{DocumentError, parse_json};
use super::model::{CommonInfra, LogFormat};
use super::problem::{Bounded, Problem, Problems, mask_credentials, shown_json};
use crate::limits;

/// The members of common-infra.json that CIM knows.
pub const MEMBERS: [&str; 8] = [
    "etcd_url",
    "kafka_brokers",
    "logging_svc_url",
    "logging_svc_tcp_port",
    "enable_retrx",
    "log_format",
    "apigw_rest_fqdn",
    "topoengine_fqdn",
];

/// A valid common-infra.json.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InfraDocument {
    /// What it says.
    pub infra: CommonInfra,
    /// The members that it has, empty ones left out.
    pub given: Vec<&'static str>,
    /// What is unusual, though taken.
    pub warnings: Bounded<String>,
}

impl InfraDocument {
    /// Reads the text of a common-infra.json.
    ///
    /// # Errors
    /// Not JSON, too large a document, or members that are not allowed: all of them.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        let raw = parse_json(text)?;
        let Value::Object(members) = &raw else {
            let mut problems = Problems::default();
            problems.push(Problem {
                path: "(the whole file)".to_owned(),
                value: shown_json(&raw),
                allowed: "an object".to_owned(),
            });
            return Err(DocumentError::Invalid(problems));
        };
        let mut reading = Reading {
            members,
            document: Self::default(),
            problems: Problems::default(),
        };
        reading.read();
        if reading.problems.is_empty() {
            Ok(reading.document)
        } else {
            Err(DocumentError::Invalid(reading.problems))
        }
    }
}

/// The value of a member as it may be shown, empty when it is not set.
pub fn shown_member(infra: &CommonInfra, name: &str) -> String {
    let text = |text: &Option<String>| mask_credentials(text.as_deref().unwrap_or_default());
    match name {
        "etcd_url" => text(&infra.etcd_url),
        "kafka_brokers" => infra.kafka_brokers.join(","),
        "logging_svc_url" => text(&infra.logging_svc_url),
        "logging_svc_tcp_port" => text(&infra.logging_svc_tcp_port),
        "enable_retrx" => infra.enable_retrx.to_string(),
        "log_format" => match infra.log_format {
            LogFormat::Json => "json".to_owned(),
            LogFormat::Text => "text".to_owned(),
        },
        "apigw_rest_fqdn" => text(&infra.apigw_rest_fqdn),
        "topoengine_fqdn" => text(&infra.topoengine_fqdn),
        _ => String::new(),
    }
}

struct Reading<'a> {
    members: &'a Map<String, Value>,
    document: InfraDocument,
    problems: Problems,
}

impl Reading<'_> {
    fn read(&mut self) {
        const FQDN: &str = "a host, host:port or URL without spaces";
        let etcd = |list: &str| {
            address::is_list(list, |one| address::is_endpoint(one, &["http", "https"]))
        };
        self.document.infra = CommonInfra {
            etcd_url: self.text("etcd_url", ENDPOINTS, etcd),
            kafka_brokers: self.brokers(),
            logging_svc_url: self.text("logging_svc_url", HOST_PORT, address::is_host_port),
            logging_svc_tcp_port: self.port("logging_svc_tcp_port"),
            enable_retrx: self.enable_retrx(),
            log_format: self.log_format(),
            apigw_rest_fqdn: self.text("apigw_rest_fqdn", FQDN, is_plain),
            topoengine_fqdn: self.text("topoengine_fqdn", FQDN, is_plain),
        };
    }

    /// The value of a member that is there and not empty.
    fn value(&mut self, name: &'static str) -> Option<&Value> {
        let value = self.members.get(name)?;
        if value.as_str().is_some_and(|text| text.trim().is_empty()) {
            return None;
        }
        self.document.given.push(name);
        Some(value)
    }

    fn problem(&mut self, path: &str, value: &Value, allowed: &str) {
        self.problems.push(Problem {
            path: path.to_owned(),
            value: shown_json(value),
            allowed: allowed.to_owned(),
        });
    }

    fn text(
        &mut self,
        name: &'static str,
        allowed: &str,
        is_good: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let value = self.value(name)?.clone();
        match value.as_str().map(str::trim) {
            Some(text) if is_good(text) => return Some(text.to_owned()),
            _ => self.problem(name, &value, allowed),
        }
        None
    }

    fn brokers(&mut self) -> Vec<String> {
        let name = "kafka_brokers";
        let Some(value) = self.value(name).cloned() else {
            return Vec::new();
        };
        let Value::Array(items) = &value else {
            self.problem(name, &value, "an array of texts, each host:port");
            return Vec::new();
        };
        if items.len() > limits::CONFIG_ADDRESSES {
            let allowed = format!("at most {} brokers", limits::CONFIG_ADDRESSES);
            self.problem(name, &value, &allowed);
            return Vec::new();
        }
        let mut brokers = Vec::new();
        for (n, item) in items.iter().enumerate() {
            match item.as_str().map(str::trim) {
                Some("") => {}
                Some(text) if address::is_host_port(text) => brokers.push(text.to_owned()),
                _ => self.problem(&format!("{name}[{n}]"), item, HOST_PORT),
            }
        }
        brokers
    }

    /// The contract says a text; a number means the same.
    fn port(&mut self, name: &'static str) -> Option<String> {
        let value = self.value(name)?.clone();
        let text = match &value {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        if address::is_port(&text) {
            return Some(text);
        }
        self.problem(name, &value, "a port from 1 to 65535");
        None
    }

    /// The text `true`, or a bool. Any other text is "no", as in the original: said, not refused.
    fn enable_retrx(&mut self) -> bool {
        let name = "enable_retrx";
        let Some(value) = self.value(name).cloned() else {
            return false;
        };
        match &value {
            Value::Bool(on) => return *on,
            Value::String(text) => {
                if text != "true" && text != "false" {
                    let value = shown_json(&value);
                    let warning =
                        format!("{name}: {value} is taken as false; only \"true\" is true");
                    self.document.warnings.push(warning);
                }
                return text == "true";
            }
            _ => self.problem(name, &value, "the text \"true\" or \"false\""),
        }
        false
    }

    /// `text` is text; any other text is JSON, as in the original: said, not refused.
    fn log_format(&mut self) -> LogFormat {
        let name = "log_format";
        let Some(value) = self.value(name).cloned() else {
            return LogFormat::Json;
        };
        match value.as_str() {
            Some("text") => return LogFormat::Text,
            Some("json") => {}
            Some(_) => {
                let value = shown_json(&value);
                let warning = format!("{name}: {value} is taken as json; only \"text\" is text");
                self.document.warnings.push(warning);
            }
            None => self.problem(name, &value, "the text \"json\" or \"text\""),
        }
        LogFormat::Json
    }
}

/// Goes to the application as it is: printable ASCII, no space, bounded, and no user with a password.
fn is_plain(text: &str) -> bool {
    text.len() <= limits::CONFIG_TEXT_BYTES
        && text.bytes().all(|b| b.is_ascii_graphic())
        && !text.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &Value) -> Result<InfraDocument, DocumentError> {
        InfraDocument::parse(value.to_string().as_bytes())
    }

    #[test]
    fn every_member_is_read() {
        let document = parse(&json!({
            "etcd_url": "etcd:2379,https://etcd2:2379", "kafka_brokers": ["k1:9092", "k2:9092"],
            "logging_svc_url": "fluent-bit:24224", "logging_svc_tcp_port": "24224", "enable_retrx": "true",
            "log_format": "text", "apigw_rest_fqdn": "cmaas:8008", "topoengine_fqdn": "tmaas:8080", "others": {"x": 1},
        }))
        .unwrap();
        let expected = CommonInfra {
            etcd_url: Some("etcd:2379,https://etcd2:2379".to_owned()),
            kafka_brokers: vec!["k1:9092".to_owned(), "k2:9092".to_owned()],
            logging_svc_url: Some("fluent-bit:24224".to_owned()),
            logging_svc_tcp_port: Some("24224".to_owned()),
            enable_retrx: true,
            log_format: LogFormat::Text,
            apigw_rest_fqdn: Some("cmaas:8008".to_owned()),
            topoengine_fqdn: Some("tmaas:8080".to_owned()),
        };
        assert_eq!(document.infra, expected);
        assert_eq!(document.given, MEMBERS);
        assert!(document.warnings.is_empty());
        for name in MEMBERS {
            assert!(!shown_member(&expected, name).is_empty(), "{name}");
        }
    }

    #[test]
    fn empty_is_not_set() {
        let empty = MEMBERS.map(|name| (name.to_owned(), json!("")));
        let document = parse(&Value::Object(empty.into_iter().collect())).unwrap();
        assert_eq!(document, InfraDocument::default());
        assert_eq!(parse(&json!({})).unwrap(), InfraDocument::default());
        assert_eq!(
            parse(&json!({"kafka_brokers": []}))
                .unwrap()
                .infra
                .kafka_brokers,
            [""; 0]
        );
    }

    #[test]
    fn bad_members_are_refused_with_path_and_value() {
        for (member, value, path) in [
            ("etcd_url", json!("etcd"), "etcd_url: \"etcd\" is"),
            ("etcd_url", json!(["etcd:1"]), "etcd_url: an array of 1 is"),
            (
                "etcd_url",
                json!("http://root:secret@etcd:1"),
                "etcd_url: \"http://***@etcd:1\" is",
            ),
            ("kafka_brokers", json!("k:1"), "kafka_brokers: \"k:1\" is"),
            (
                "kafka_brokers",
                json!(["k:1", "k"]),
                "kafka_brokers[1]: \"k\" is",
            ),
            ("kafka_brokers", json!(["k:1", 5]), "kafka_brokers[1]: 5 is"),
            (
                "kafka_brokers",
                json!(vec!["k:1"; 65]),
                "kafka_brokers: an array of 65 is",
            ),
            (
                "logging_svc_url",
                json!("fluent-bit"),
                "logging_svc_url: \"fluent-bit\" is",
            ),
            (
                "logging_svc_tcp_port",
                json!("0"),
                "logging_svc_tcp_port: \"0\" is",
            ),
            (
                "logging_svc_tcp_port",
                json!(65536),
                "logging_svc_tcp_port: 65536 is",
            ),
            ("enable_retrx", json!(1), "enable_retrx: 1 is"),
            ("log_format", json!(null), "log_format: null is"),
            (
                "apigw_rest_fqdn",
                json!("a b"),
                "apigw_rest_fqdn: \"a b\" is",
            ),
            (
                "topoengine_fqdn",
                json!({}),
                "topoengine_fqdn: an object of 0 is",
            ),
        ] {
            let error = parse(&json!({member: value})).unwrap_err().to_string();
            assert!(error.starts_with(path), "{error}");
        }
        let error = parse(&json!({"etcd_url": 1, "log_format": 1}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("etcd_url: 1") && error.contains("log_format: 1"),
            "{error}"
        );
        assert!(parse(&json!("x")).is_err());
    }

    #[test]
    fn loose_forms_are_taken() {
        for (member, value, warns) in [
            ("enable_retrx", json!(true), false),
            ("enable_retrx", json!("false"), false),
            ("enable_retrx", json!("yes"), true),
            ("log_format", json!("json"), false),
            ("log_format", json!("xml"), true),
            ("logging_svc_tcp_port", json!(24224), false),
        ] {
            let document = parse(&json!({member: value})).unwrap();
            assert_eq!(!document.warnings.is_empty(), warns, "{member} {value}");
            assert_eq!(document.given, [member]);
        }
        assert!(
            parse(&json!({"enable_retrx": true}))
                .unwrap()
                .infra
                .enable_retrx
        );
        assert!(
            !parse(&json!({"enable_retrx": "yes"}))
                .unwrap()
                .infra
                .enable_retrx
        );
    }
}
