//! What etcd's gateway answers, or whatever answers in its place.

use super::assert_showable;
use crate::etcd::json::{RangeAnswer, TxnAnswer, answer};
use crate::etcd::watch::{Frame, LineError, frame};
use crate::etcd::{EtcdError, Status};
use crate::limits;

/// Bytes that an error on an answer may take when it is shown: a control character takes at most 10.
const SHOWN_BYTES: usize = 10 * limits::ETCD_REASON_BYTES + 1024;

/// Any bytes as a line of a watch, as an answer, and as the body of an error: what is read is within its bounds, and what is
/// said of it may be shown.
pub fn etcd_frame(data: &[u8]) {
    match frame(data) {
        Ok(frame) => check_frame(&frame),
        Err(LineError::Malformed(what)) => assert_shown(&what),
        Err(LineError::Status { code, message }) => {
            assert_error(&EtcdError::of_code("e", code, &message, 1));
        }
    }
    match answer::<RangeAnswer>(data) {
        Ok(range) => assert!(range.kvs.len() <= limits::ETCD_ITEMS),
        Err(what) => assert_shown(&what),
    }
    match answer::<TxnAnswer>(data) {
        Ok(txn) => assert!(txn.responses.len() <= limits::ETCD_ITEMS),
        Err(what) => assert_shown(&what),
    }
    if let Err(what) = answer::<Status>(data) {
        assert_shown(&what);
    }
    for status in [400, 401, 503] {
        assert_error(&EtcdError::of_answer("e", status, data, 1));
    }
}

fn check_frame(frame: &Frame) {
    assert!(frame.events.len() <= limits::ETCD_ITEMS);
    let cancellation = frame.cancellation(1);
    assert_eq!(cancellation.is_some(), frame.canceled);
    if let Some(error) = cancellation {
        assert_error(&error);
    }
}

fn assert_error(error: &EtcdError) {
    assert_shown(&error.to_string());
    // Every error has one.
    let _ = error.recovery();
}

fn assert_shown(text: &str) {
    assert_showable(text);
    assert!(text.len() <= SHOWN_BYTES, "{} bytes", text.len());
}
