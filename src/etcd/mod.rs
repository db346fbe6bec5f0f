//! etcd through its v3 JSON gateway.
