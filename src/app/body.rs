//! What is posted to the application, byte for byte as the original writes it. The first configuration is posted as it is
//! in etcd, and the request to shut down has an empty body, so neither needs a builder.

use crate::logs::json;

/// The body of a change set (CONTRACT section 4): members in the order of their names, `patch` as text.
pub fn update_config(
    change_set_key: &str,
    data_key: &str,
    patch: &[u8],
    revision: &str,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(patch.len() + change_set_key.len() + data_key.len() + 128);
    let mut separator = b'{';
    for (name, value) in [
        ("change-set-key", change_set_key.as_bytes()),
        ("config-patch", patch),
        ("data-key", data_key.as_bytes()),
        ("revision", revision.as_bytes()),
    ] {
        body.push(separator);
        json::member(name, value, &mut body);
        separator = b',';
    }
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The original's request, without its head.
    fn golden(request: &'static str) -> &'static str {
        request.split_once("\r\n\r\n").unwrap().1
    }

    #[test]
    fn a_change_set_is_posted_as_the_original_posts_it() {
        for (request, level, patch, revision) in [
            (
                include_str!("../../tests/golden/5-config/01_ms_success.request.raw"),
                "ms",
                r#"[{"op":"replace","path":"/a/b","value":"x <&> é \"q\""}]"#,
                "101",
            ),
            (
                include_str!("../../tests/golden/5-config/02_ms_failure.request.raw"),
                "ms",
                r#"[{"op":"replace","path":"/a","value":1}]"#,
                "102",
            ),
            (
                include_str!("../../tests/golden/5-config/03_ms_unused.request.raw"),
                "ms",
                r#"[{"op":"add","path":"/n","value":{}}]"#,
                "103",
            ),
            (
                include_str!("../../tests/golden/5-config/04_nf_success.request.raw"),
                "nf",
                r#"[{"op":"remove","path":"/a"}]"#,
                "104",
            ),
            (
                include_str!("../../tests/golden/5-config/05_app_answers_500_no_reply.request.raw"),
                "ms",
                "[]",
                "105",
            ),
            (
                include_str!("../../tests/golden/5-config/12_value_not_a_patch.request.raw"),
                "ms",
                "nonsense",
                "503",
            ),
        ] {
            let key = format!("change-set/ns1/ms1/v1/{level}/app.json/{revision}");
            let body = update_config(&key, "app.json", patch.as_bytes(), revision);
            assert_eq!(String::from_utf8(body).unwrap(), golden(request));
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_json_all_the_same() {
        let body = update_config("k\n", "d\"", b"\xff\0", "1");
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["config-patch"], "\u{fffd}\0");
        assert_eq!(
            (&json["change-set-key"], &json["data-key"]),
            (&"k\n".into(), &"d\"".into())
        );
    }
}
