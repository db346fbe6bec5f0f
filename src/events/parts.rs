//! The JSON that application events and CIM's own have in common.

use crate::identity::Identity;
use crate::logs::json;

/// Appends a list as Go writes it: `[{"name":…,"value":…},…]`, and `null` when it is empty. False when `out` would become longer
/// than `limit`: the rest is left out. Looked at before each entry, whose bytes escaping makes six times as many at the most.
pub(super) fn pairs<'a>(
    list: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    limit: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut separator = b'[';
    for (name, value) in list {
        if out.len() + name.len() + value.len() > limit {
            return false;
        }
        out.extend_from_slice(&[separator, b'{']);
        json::member("name", name, out);
        out.push(b',');
        json::member("value", value, out);
        out.push(b'}');
        separator = b',';
    }
    if separator == b'[' {
        out.extend_from_slice(b"null");
    } else {
        out.push(b']');
    }
    true
}

/// Appends the members of `sourceHeaders` that every event has, empty ones too: `podId` to `svcVersion`.
pub(super) fn base_headers(identity: &Identity, out: &mut Vec<u8>) {
    let (nf, nf_type) = identity.tmaas.as_ref().map_or(("", ""), |tmaas| {
        (tmaas.nf_id.as_str(), tmaas.nf_type.as_str())
    });
    let headers = [
        ("podId", identity.pod.as_str()),
        (
            "microservice",
            identity.microservice.as_deref().unwrap_or_default(),
        ),
        ("nf", nf),
        ("nfPrefix", &identity.nf_prefix),
        ("nfType", nf_type),
        ("svcVersion", &identity.version),
    ];
    for (n, (name, value)) in headers.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json::member(name, value.as_bytes(), out);
    }
}
