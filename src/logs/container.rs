//! Who a log line belongs to. Names and ids come from the application and are untrusted.

/// One container of the pod, as its lines name it.
#[derive(Debug)]
pub struct Container {
    /// The name as sent.
    pub name: Box<[u8]>,
    /// The id as sent.
    pub id: Box<[u8]>,
    /// Name of its log file without `.log`, safe for the file system, different for each (name, id).
    pub stem: String,
    /// The JSON form of a line up to the log text: `{"container_name":"…","log":"`.
    pub json_head: Box<[u8]>,
}
