//! Snapshots as the text that is handed out: text format 0.0.4, families by name, the samples of a family from the oldest snapshot to the youngest.

use std::collections::BTreeMap;

use super::family::{Family, Kind, Samples, Seen, Stamp};
use super::line::escape;
use super::snapshot::Snapshot;

/// The text of `snapshots`, which are the oldest first, with the two families that the original adds: of its build, and of its
/// success unless there is no snapshot.
pub fn render(snapshots: &[Snapshot]) -> Vec<u8> {
    let mut merged: BTreeMap<&str, Merged<'_>> = BTreeMap::new();
    let mut bytes = 1024;
    for snapshot in snapshots {
        bytes += snapshot.bytes();
        for (port, family) in snapshot.families() {
            let part = (snapshot.aligned_ms(), port);
            Merged::add(&mut merged, part, family);
        }
    }
    let (build, success) = (build_info(), collector_success());
    Merged::add(&mut merged, (0, 0), &build);
    if !snapshots.is_empty() {
        Merged::add(&mut merged, (0, 0), &success);
    }
    mend_types(&mut merged);
    let mut out = Vec::with_capacity(bytes);
    for (name, family) in &merged {
        family.append(name, &mut out);
    }
    out
}

/// Families of one name.
struct Merged<'a> {
    help: &'a str,
    kind: Kind,
    /// Without HELP and TYPE.
    bare: bool,
    /// Aligned time, port, and the samples.
    parts: Vec<((u64, u16), &'a Samples)>,
}

impl<'a> Merged<'a> {
    fn add(all: &mut BTreeMap<&'a str, Self>, part: (u64, u16), family: &'a Family) {
        let merged = all.entry(&family.name).or_insert_with(|| Self {
            help: &family.help,
            kind: family.kind,
            bare: false,
            parts: Vec::new(),
        });
        if merged.kind != family.kind {
            merged.kind = Kind::Untyped;
        }
        if merged.help.is_empty() {
            merged.help = &family.help;
        }
        merged.parts.push((part, &family.samples));
    }

    fn append(&self, name: &str, out: &mut Vec<u8>) {
        if !self.bare {
            for text in ["# HELP ", name, " "] {
                out.extend_from_slice(text.as_bytes());
            }
            escape(self.help, false, out);
            for text in ["\n# TYPE ", name, " ", self.kind.as_str(), "\n"] {
                out.extend_from_slice(text.as_bytes());
            }
        }
        let own_stamps = self
            .parts
            .iter()
            .any(|(_, samples)| samples.has_own_stamps());
        let mut seen = own_stamps.then(Seen::new);
        for &((aligned_ms, port), samples) in &self.parts {
            samples.append(&Stamp::new(aligned_ms, port), seen.as_mut(), out);
        }
    }
}

/// Where `x_count` is a family and also samples of the histogram or summary `x` (of another port), no reader could tell which TYPE
/// holds, and `expfmt` refuses the text: `x` becomes untyped, and `x_count` has no TYPE.
fn mend_types(merged: &mut BTreeMap<&str, Merged<'_>>) {
    let groups = |family: &Merged<'_>| family.parts.iter().any(|(_, samples)| samples.grouped);
    let bases: Vec<&str> = merged
        .iter()
        .filter(|(_, family)| {
            matches!(family.kind, Kind::Histogram | Kind::Summary) || groups(family)
        })
        .map(|(&name, _)| name)
        .collect();
    for base in bases {
        let mut clash = false;
        for suffix in ["_bucket", "_sum", "_count"] {
            if let Some(family) = merged.get_mut(format!("{base}{suffix}").as_str()) {
                family.bare = true;
                clash = true;
            }
        }
        if clash && let Some(family) = merged.get_mut(base) {
            family.kind = Kind::Untyped;
        }
    }
}

/// As the original's exporter has it; CIM has only a version.
fn build_info() -> Family {
    let name = "clock_aligned_metric_exporter_build_info";
    let version = env!("CARGO_PKG_VERSION");
    Family {
        name: name.into(),
        help: "A metric with a constant '1' value labeled by version, revision, branch, and goversion from which \
               clock_aligned_metric_exporter was built."
            .into(),
        kind: Kind::Gauge,
        samples: Samples::fixed(format!(
            "{name}{{branch=\"\",goversion=\"\",revision=\"\",version=\"{version}\"}} 1\n"
        )),
    }
}

/// There is a snapshot.
fn collector_success() -> Family {
    let name = "metric_scrape_collector_success";
    Family {
        name: name.into(),
        help: "metric_exporter: Whether a collector succeeded.".into(),
        kind: Kind::Counter,
        samples: Samples::fixed(format!("{name}{{collector=\"metric\"}} 1\n")),
    }
}

#[cfg(test)]
mod tests;
