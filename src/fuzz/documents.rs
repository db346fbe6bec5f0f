//! JSON documents: the configuration files and the body of a registration.

use super::assert_showable;
use crate::limits;
use crate::registration::{Application, Facts, Overrides, Registrar, register, success};
use crate::settings::document::{CimDocument, DocumentError};
use crate::settings::infra::{self, InfraDocument};
use crate::settings::table::MEMBERS;
use crate::settings::{CimConfig, problem};

/// Bytes that all problems of a document, or one warning, may take when they are shown.
const SHOWN_BYTES: usize = limits::CONFIG_PROBLEMS * 1024;

fn assert_shown_error(error: &DocumentError) {
    let text = error.to_string();
    assert_showable(&text);
    assert!(text.len() <= SHOWN_BYTES, "{} bytes", text.len());
}

fn assert_warnings(warnings: &problem::Bounded<String>) {
    for warning in warnings.iter() {
        assert_showable(warning);
        assert!(warning.len() <= 1024, "{} bytes", warning.len());
    }
}

/// Any cim.json is refused with errors that may be shown, or every member is in its range, and the document, written
/// again, says the same.
pub fn cim_json(data: &[u8]) {
    let document = match CimDocument::parse(data) {
        Ok(document) => document,
        Err(error) => return assert_shown_error(&error),
    };
    assert_warnings(&document.warnings);
    let text = serde_json::to_vec(&document.raw).expect("JSON");
    assert_eq!(CimDocument::parse(&text).as_ref(), Ok(&document));
    let mut config = CimConfig::default();
    for member in &MEMBERS {
        let value = member.get(&document.config);
        // Null: a text that is not set.
        assert!(
            value.is_null() || member.set(&mut config, &value).is_ok(),
            "{}",
            member.path()
        );
        assert!(document.gives(member) || value == member.get(&CimConfig::default()));
    }
    assert_eq!(config, document.config);
}

/// Any common-infra.json is refused with errors that may be shown, or every value may be shown.
pub fn common_infra(data: &[u8]) {
    let document = match InfraDocument::parse(data) {
        Ok(document) => document,
        Err(error) => return assert_shown_error(&error),
    };
    assert_warnings(&document.warnings);
    for name in infra::MEMBERS {
        let shown = infra::shown_member(&document.infra, name);
        assert_showable(&shown);
        let bytes = limits::CONFIG_ADDRESSES * (limits::CONFIG_TEXT_BYTES + 1);
        assert!(shown.len() <= bytes, "{name}: {} bytes", shown.len());
    }
}

/// Any body of a registration is answered with 200 or 400 and JSON that says the same; what CIM logs of it may be shown.
pub fn registration(data: &[u8]) {
    let result = register(data, &mut Accepting);
    let (answer, status) = match &result {
        Ok(_) => (success(&Accepting.facts()), 200),
        Err(answer) => (answer.clone(), 400),
    };
    assert_eq!(answer.status, status);
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let word = if status == 200 { "success" } else { "failure" };
    assert_eq!(body.get("status").and_then(|s| s.as_str()), Some(word));
    if let Ok(application) = result {
        assert_showable(&application.to_string());
    }
}

/// Takes what the daemon's registrar would take, where no cim.json is mounted.
struct Accepting;

impl Registrar for Accepting {
    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn accept(&mut self, _: &Application, overrides: Overrides) -> Result<(), String> {
        let lmaas = serde_json::Value::Object(overrides.lmaas);
        let app_settings = serde_json::Value::Object(overrides.app_settings);
        let read = crate::settings::Overrides::read(Some(&lmaas), Some(&app_settings));
        read.map(drop).map_err(|problems| {
            let text = problems.to_string();
            assert_showable(&text);
            assert!(text.len() <= SHOWN_BYTES);
            text
        })
    }
}
