//! What configuration at run time reads: the keys of change sets, and the application's answers.

use serde_json::Value;

use super::assert_showable;
use crate::change_set::answer::{AnswerRevision, ConfigAnswer, Status};
use crate::change_set::key::{ChangeSetKey, shown_key};
use crate::limits;

/// Any key is refused with an error that may be shown, or its parts are the whole key.
pub fn change_set_key(data: &[u8]) {
    let shown = shown_key(data);
    assert_showable(&shown);
    assert!(shown.len() <= limits::SHOWN_KEY_BYTES + "…".len());
    let key = match ChangeSetKey::parse_bytes(data) {
        Ok(key) => key,
        Err(error) => return assert_showable(&error.to_string()),
    };
    let parts = [
        "change-set",
        key.namespace(),
        key.microservice(),
        key.version(),
        key.level().label(),
        key.data_key(),
        key.revision(),
    ];
    assert!(parts.iter().all(|part| !part.is_empty()));
    assert_eq!(parts.join("/").as_bytes(), data);
    assert_eq!(key.revision().parse(), Ok(key.number()));
    assert_eq!(ChangeSetKey::parse(key.text()).as_ref(), Ok(&key));
    for with_config_map in [false, true] {
        let commit_key = key.commit_key("pod", with_config_map);
        let cim = usize::from(with_config_map && key.is_self());
        assert_eq!(commit_key.split('/').count(), 6 + cim);
        assert!(commit_key.ends_with("/pod"));
    }
}

/// Any message on CONFIG is refused, or says what a reader of the whole JSON document finds in it; its remarks may be shown.
pub fn config_answer(data: &[u8]) {
    let answer = ConfigAnswer::parse(data);
    if let Ok(answer) = &answer {
        assert_showable(&answer.remarks);
        assert!(answer.remarks.len() <= limits::REMARKS_BYTES);
    }
    // That reader gives up where values are nested deeply; such members are skipped here.
    let Ok(document) = serde_json::from_str::<Value>(&String::from_utf8_lossy(data)) else {
        return;
    };
    let text = |member: &str| document.get(member).and_then(Value::as_str);
    let Some(key) = text("change-set-key") else {
        return assert!(answer.is_err());
    };
    let answer = answer.expect("an object with a key");
    assert_eq!(answer.change_set_key, key);
    assert_eq!(
        answer.status,
        match text("status") {
            Some("success") => Status::Success,
            Some("unused") => Status::Unused,
            _ => Status::Failure,
        }
    );
    match document.get("revision") {
        None => assert_eq!(answer.revision, AnswerRevision::Absent),
        Some(Value::Number(number)) if number.is_u64() => {
            let number = number.as_u64().expect("a number");
            assert_eq!(answer.revision, AnswerRevision::Number(number));
        }
        Some(_) => assert_ne!(answer.revision, AnswerRevision::Absent),
    }
}
