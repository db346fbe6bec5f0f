//! cim.json as a YANG 1.1 module (RFC 7950), made from the table of its members: what CMaaS offers to operators.

use std::fmt::Write;

use serde_json::Value;

use super::model::CimConfig;
use super::table::{MEMBERS, Member, Shape};
use crate::limits;

/// The day on which the members, their ranges or their defaults changed last.
const REVISION: &str = "2026-11-23";

/// The module of the configuration of `ms` in the network function `nf_id`: both are part of its names, because one
/// configuration manager has the modules of many.
pub fn module(nf_id: &str, ms: &str) -> String {
    let name = identifier(&format!("{nf_id}-{ms}"));
    let mut text = format!(
        r#"module xgvela-{name}-cim-config {{
  yang-version 1.1;
  namespace "urn:xgvela:ns:yang:cnp:cim:{name}";
  prefix {name}-cim;

  organization "XGVela";
  description "Configuration of CIM, the sidecar of one microservice: the members of its cim.json.";

  revision {REVISION} {{
    description "Ranges and defaults as CIM enforces them.";
  }}

  container cimConfig {{
    description "The whole configuration.";
"#
    );
    let mut section = "";
    for member in &MEMBERS {
        if member.section != section {
            if !section.is_empty() {
                text.push_str("    }\n");
            }
            section = member.section;
            // Writing into a String does not fail.
            let _ = write!(
                text,
                "\n    container {section} {{\n      description \"{}\";\n",
                about(section)
            );
        }
        leaf(&mut text, member);
    }
    text.push_str("    }\n  }\n}\n");
    text
}

fn about(section: &str) -> &'static str {
    match section {
        "lmaas" => "Log files, and where log lines go.",
        "cim_settings" => "CIM itself.",
        _ => "The application beside CIM.",
    }
}

fn leaf(text: &mut String, member: &Member) {
    let mut line = |depth: usize, content: String| {
        let _ = writeln!(text, "{:depth$}{content}", "", depth = depth * 2);
    };
    line(3, format!("leaf {} {{", member.name));
    let shape = member.shape();
    match &shape {
        Shape::Number { min, max, .. } => {
            line(4, "type int32 {".to_owned());
            line(5, format!("range \"{min}..{max}\";"));
            line(4, "}".to_owned());
        }
        Shape::Bool => line(4, "type boolean;".to_owned()),
        Shape::Choice(names) => {
            line(4, "type enumeration {".to_owned());
            for name in names {
                line(5, format!("enum {name};"));
            }
            line(4, "}".to_owned());
        }
        Shape::Text => {
            line(4, "type string {".to_owned());
            line(5, format!("length \"0..{}\";", limits::CONFIG_TEXT_BYTES));
            line(4, "}".to_owned());
        }
    }
    if let Shape::Number { unit, .. } = shape {
        line(4, format!("units \"{unit}\";"));
    }
    match member.get(&CimConfig::default()) {
        Value::Null => {}
        Value::String(default) => line(4, format!("default \"{default}\";")),
        default => line(4, format!("default \"{default}\";")),
    }
    let when = if member.at_run_time {
        "A change takes effect at once."
    } else {
        "A change takes effect at the next start of CIM."
    };
    line(4, format!("description \"{when}\";"));
    line(3, "}".to_owned());
}

/// `text` as a YANG identifier (RFC 7950, 6.2): other characters become `-`, and it begins with a letter or `_`.
fn identifier(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().map(safe).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name
    } else {
        format!("_{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_has_every_member_with_type_default_and_unit() {
        let module = module("nf1", "ms1");
        assert!(module.starts_with("module xgvela-nf1-ms1-cim-config {\n"));
        for part in [
            "namespace \"urn:xgvela:ns:yang:cnp:cim:nf1-ms1\";",
            "prefix nf1-ms1-cim;",
            "leaf max_age {\n        type int32 {\n          range \"1..30\";\n        }\n        units \"days\";\n        default \"7\";",
            "enum FILEANDSTDOUT;\n        }\n        default \"FILE\";",
            "leaf http2_enabled {\n        type boolean;\n        default \"false\";\n        description \"A change takes effect at the next start of CIM.\";",
            "leaf kafka_client_id {\n        type string {\n          length \"0..512\";\n        }\n        description",
        ] {
            assert!(module.contains(part), "{part}\n{module}");
        }
        for member in &MEMBERS {
            assert!(module.contains(&format!("leaf {} {{", member.name)));
        }
        let braces = |c| module.chars().filter(|&b| b == c).count();
        assert_eq!(braces('{'), braces('}'));
    }

    #[test]
    fn names_from_outside_become_identifiers() {
        for (nf, ms, expected) in [
            ("nf1", "ms1", "nf1-ms1"),
            ("1nf", "m s", "_1nf-m-s"),
            ("", "é\"{;}", "_------"),
        ] {
            let module = module(nf, ms);
            assert!(
                module.contains(&format!("prefix {expected}-cim;")),
                "{module}"
            );
        }
    }
}
