//! What a line looks like on standard output, TCP and Kafka (CONTRACT section 6). A file has the raw line.

use crate::logs::container::Container;
use crate::logs::json::escape;
use crate::settings::LogFormat;

/// The form of the lines of this pod.
#[derive(Debug)]
pub struct LineForm {
    tail: Box<[u8]>,
}

impl LineForm {
    /// For the lines of `pod` in the namespace `ns`.
    pub fn new(pod: &str, ns: &str) -> Self {
        let mut tail = br#"","kubernetes":{"namespace_name":""#.to_vec();
        escape(ns.as_bytes(), &mut tail);
        tail.extend_from_slice(br#"","pod_name":""#);
        escape(pod.as_bytes(), &mut tail);
        tail.extend_from_slice(br#""}}"#);
        Self { tail: tail.into() }
    }

    /// Appends `payload` in `format`, without a line end.
    pub fn append(
        &self,
        format: LogFormat,
        container: &Container,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        match format {
            LogFormat::Text => out.extend_from_slice(payload),
            LogFormat::Json => {
                out.extend_from_slice(&container.json_head);
                escape(payload, out);
                out.extend_from_slice(&self.tail);
            }
        }
    }
}

/// The JSON form of a line up to the log text.
pub fn json_head(container_name: &[u8]) -> Box<[u8]> {
    let mut head = br#"{"container_name":""#.to_vec();
    escape(container_name, &mut head);
    head.extend_from_slice(br#"","log":""#);
    head.into()
}
