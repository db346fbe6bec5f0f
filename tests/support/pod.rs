//! The directories of a pod, which outlive CIM: what is in them is there for the next one.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Cim, Options, PATIENCE, metrics};

/// See the module.
pub struct Pod {
    dir: TempDir,
}

impl Pod {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("cim-pod-").tempdir();
        Self { dir: dir.unwrap() }
    }

    /// `options` with the pod's directories.
    pub fn options(&self, options: Options) -> Options {
        let state = self.dir.path().join("state");
        options
            .log_dir(self.dir.path().join("logs"))
            .env("CIM_STATE_DIR", state)
    }

    /// Names of the files that say what of the log files is still to be sent.
    pub fn marks(&self) -> Vec<PathBuf> {
        let marks = std::fs::read_dir(self.dir.path().join("state/backlog"));
        let marks = marks.into_iter().flatten();
        marks.map(|entry| entry.unwrap().path()).collect()
    }
}

/// Each line that came in is somewhere, once: at quiet. Waits for that.
#[track_caller]
pub fn wait_for_conservation(cim: &Cim) {
    let mut last = (0.0, 0.0);
    let start = std::time::Instant::now();
    loop {
        let text = cim.metrics();
        let sum = |name: &str, labels: &[(&str, &str)]| metrics::sum(&text, name, labels);
        let all = |name: &str| sum(name, &[]);
        let came = all("Total_msg_count");
        let went = all("Total_msg_sent_to_tcp")
            + all("cim_log_lines_kafka_total")
            + all("cim_log_lines_stdout_total")
            + all("cim_log_lines_dropped_total")
            + sum("cim_set_aside_total", &[("topic", "LOGS")])
            + all("Total_msg_write_to_file")
            - all("cim_log_lines_retransmitted_total");
        // Twice the same: nothing is on its way.
        if came == went && last == (came, went) {
            return;
        }
        last = (came, went);
        if start.elapsed() > PATIENCE {
            let is_ours =
                |line: &&str| line.starts_with("Total_msg") || line.starts_with("cim_log_");
            let lines: Vec<_> = text.lines().filter(is_ours).collect();
            panic!("{came} lines in, {went} out:\n{}", lines.join("\n"));
        }
        std::thread::sleep(super::LOOK);
    }
}
