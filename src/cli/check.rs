//! `cim check`: what `cim run` would use, where each value comes from, and what is wrong. Opens no port and changes nothing.

use std::fmt::Write;

use crate::identity::{Host, Identity};
use crate::options::{self, Given};
use crate::settings::{Shown, Store};

/// What `cim check` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The text for standard output.
    pub text: String,
    /// Nothing is wrong.
    pub good: bool,
    /// What is wrong.
    pub errors: Vec<String>,
    /// What is worth a look.
    pub warnings: Vec<String>,
}

/// Checks everything that `given` and the files it names say.
pub fn check(given: &Given, host: &Host) -> Report {
    let resolved = options::resolve(given);
    let (identity, changed) = Identity::resolve(&resolved.options.names, host);
    let files = &resolved.options.paths.files;
    let store = Store::open(files.clone(), resolved.options.infra.clone());

    let mut errors: Vec<_> = resolved.problems.iter().map(ToString::to_string).collect();
    if resolved.problems.more() > 0 {
        errors.push(format!("and {} more", resolved.problems.more()));
    }
    errors.extend(store.refused());
    let absent = resolved.absent_files();
    let warnings = [resolved.warnings, absent, changed, store.warnings()].concat();

    let mut page = Page::default();
    page.section(
        "Settings of CIM (environment, command line)",
        &resolved.shown,
    );
    page.pairs("Who this is", &who(&identity));
    let title = format!(
        "cim.json ({}; shipped: {})",
        files.cim.display(),
        files.shipped.display()
    );
    page.section(&title, &store.cim_members());
    let title = format!("common-infra.json ({})", files.infra.display());
    page.section(&title, &store.infra_members());
    page.line(&format!("In force: {}", store.origin()));
    page.list("Warnings", &warnings);
    page.list("Errors", &errors);
    page.line(
        match (errors.len(), warnings.len()) {
            (0, 0) => "All good.".to_owned(),
            (0, warnings) => format!("Good, {} to look at.", count(warnings, "warning")),
            (errors, _) => format!(
                "{}: `cim run` would refuse or pass over what they name.",
                count(errors, "error")
            ),
        }
        .as_str(),
    );
    Report {
        good: errors.is_empty(),
        text: page.0,
        errors,
        warnings,
    }
}

fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

fn who(identity: &Identity) -> [(&'static str, &str); 8] {
    let tmaas = identity.tmaas.as_ref();
    [
        ("pod", &identity.pod),
        ("namespace", &identity.namespace),
        ("container id", &identity.container_id),
        (
            "microservice",
            identity.microservice.as_deref().unwrap_or_default(),
        ),
        ("service version", &identity.version),
        ("network function", tmaas.map_or("", |t| &t.nf_id)),
        ("its type", tmaas.map_or("", |t| &t.nf_type)),
        ("its prefix", &identity.nf_prefix),
    ]
}

/// Text in aligned columns.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn section(&mut self, title: &str, rows: &[Shown]) {
        self.line(title);
        let name_width = rows.iter().map(|row| row.name.chars().count()).max();
        let name_width = name_width.unwrap_or_default();
        for row in rows {
            let value = if row.value.is_empty() {
                "-"
            } else {
                &row.value
            };
            // Writing into a String does not fail.
            let _ = writeln!(
                self.0,
                "  {:name_width$}  {:<12}  {value}",
                row.name, row.source
            );
        }
        self.0.push('\n');
    }

    fn pairs(&mut self, title: &str, rows: &[(&str, &str)]) {
        self.line(title);
        for (name, value) in rows {
            let value = if value.is_empty() { "-" } else { value };
            let _ = writeln!(self.0, "  {name:<16}  {value}");
        }
        self.0.push('\n');
    }

    fn list(&mut self, title: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.line(title);
        for item in items {
            self.line(&format!("  {item}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Case {
        dir: tempfile::TempDir,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Self { dir }
        }

        fn path(&self, name: &str) -> String {
            self.dir.path().join(name).to_str().unwrap().to_owned()
        }

        fn check(&self, more: &[(&str, &str)]) -> Report {
            let [conf, shipped, infra] =
                ["cim.json", "shipped.json", "infra.json"].map(|name| self.path(name));
            let mut variables = vec![
                ("CIM_CONF_FILE", conf.as_str()),
                ("CIM_SHIPPED_CONF_FILE", &shipped),
                ("CIM_INFRA_FILE", &infra),
            ];
            variables.extend(more);
            let host = Host {
                name: "box".to_owned(),
                ..Host::default()
            };
            let report = check(&Given::from_environment(variables), &host);
            let text = report
                .text
                .replace(self.dir.path().to_str().unwrap(), "DIR");
            Report { text, ..report }
        }
    }

    #[test]
    fn the_page_for_nothing_given() {
        let report = Case::new().check(&[]);
        assert!(report.good);
        insta::assert_snapshot!(report.text);
    }

    #[test]
    fn each_value_is_told_with_where_it_comes_from() {
        let case = Case::new();
        fs::write(
            case.path("cim.json"),
            r#"{"cimConfig":{"haaas":{},"lmaas":{"max_age":3}}}"#,
        )
        .unwrap();
        fs::write(
            case.path("infra.json"),
            r#"{"etcd_url":"a:1","log_format":"text"}"#,
        )
        .unwrap();
        let report = case.check(&[
            ("CIM_ETCD_URL", "b:1"),
            ("K8S_POD_ID", "p"),
            ("K8S_NAMESPACE", "n"),
        ]);
        assert!(report.good, "{}", report.text);
        for line in [
            "  cimConfig.lmaas.max_age                        file          3\n",
            "  cimConfig.lmaas.buffer_size                    built-in      10000\n",
            "  etcd_url              environment   b:1\n",
            "  log_format            file          text\n",
            "cimConfig.haaas: unknown member, kept and not used\n",
        ] {
            assert!(report.text.contains(line), "{line}\n{}", report.text);
        }
    }

    #[test]
    fn every_error_is_told_and_no_secret_is() {
        let case = Case::new();
        fs::write(
            case.path("cim.json"),
            r#"{"cimConfig":{"lmaas":{"buffer_size":-5,"max_age":99}}}"#,
        )
        .unwrap();
        fs::write(
            case.path("infra.json"),
            r#"{"etcd_url":"http://root:hunter2@etcd:1"}"#,
        )
        .unwrap();
        fs::write(case.path("password"), "hunter2\n").unwrap();
        let password = case.path("password");
        let report = case.check(&[
            ("CIM_NATS_MAX_PAYLOAD", "5"),
            ("CIM_NATS_USER", "u"),
            ("CIM_NATS_PASSWORD_FILE", &password),
            ("CIM_KAFKA_OPTS", "sasl.password=hunter2"),
        ]);
        assert!(!report.good);
        assert!(!report.text.contains("hunter2"), "{}", report.text);
        let errors = report.text.split("Errors\n").nth(1).unwrap();
        let expected = "  \
  CIM_NATS_MAX_PAYLOAD: \"5\" is not allowed; allowed: a whole number from 1024 to 1048576
  DIR/cim.json: cimConfig.lmaas.max_age: 99 is not allowed; allowed: a whole number from 1 to 30 (days); \
cimConfig.lmaas.buffer_size: -5 is not allowed; allowed: a whole number from 1000 to 100000 (bytes)
  DIR/infra.json: etcd_url: \"http://***@etcd:1\" is not allowed; allowed: host:port, http://host:port or https://host:port, several separated by commas
3 errors: `cim run` would refuse or pass over what they name.
";
        assert_eq!(errors, expected);
    }
}
