//! Threads `probe`: one for each check of `cim doctor`. They run side by side, and none is waited for longer than its time.

use std::thread::Builder;
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::cli::doctor::{Finding, Out, Probe};
use crate::limits::DOCTOR_FINDINGS;

/// Runs all of them; `each` gets what they find, in the order of the probes, as soon as it is there. A probe that hangs is left to the
/// end of the process, which is near.
pub fn run(probes: Vec<Probe>, mut each: impl FnMut(Finding)) {
    let start = Instant::now();
    let mut running = Vec::new();
    for probe in probes {
        let (findings, found) = bounded(DOCTOR_FINDINGS);
        let Probe { name, time, run } = probe;
        let started = Builder::new()
            .name("probe".into())
            .spawn(move || run(&Out::new(name, findings)));
        running.push((name, time, found, started.err()));
    }
    for (name, time, found, error) in running {
        if let Some(error) = error {
            each(
                Finding::failed(name, format!("no thread for it: {error}"))
                    .advice("try again when the machine is less busy"),
            );
            continue;
        }
        loop {
            let left = (start + time).saturating_duration_since(Instant::now());
            match found.recv_timeout(left) {
                Ok(finding) => each(finding),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let text = format!("not done within {} s", time.as_secs());
                    each(Finding::failed(name, text).advice(
                        "something in between takes packets and answers nothing: look at DNS, network policies and proxies",
                    ));
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;
    use std::time::Duration;

    #[test]
    fn all_run_at_one_time_and_one_that_hangs_holds_up_nobody() {
        let (let_go, held) = crossbeam_channel::bounded::<()>(0);
        let hangs = held.clone();
        let first = Probe::new("first", Duration::from_secs(20), move |out| {
            // Ends once the second one runs.
            let _ = held.recv();
            out.ok("one");
            out.ok("two");
        });
        let second = Probe::new("second", Duration::from_secs(20), move |out| {
            drop(let_go);
            out.warn("three");
        });
        let hanging = Probe::new("hanging", Duration::from_millis(10), move |_| {
            let _ = hangs.recv();
            std::thread::sleep(Duration::from_secs(60));
        });
        let mut found = Vec::new();
        run(vec![first, second, hanging], |finding| found.push(finding));
        let texts: Vec<_> = found
            .iter()
            .map(|finding| (finding.check, finding.level, finding.text.as_str()))
            .collect();
        assert_eq!(
            texts,
            [
                ("first", Level::Ok, "one"),
                ("first", Level::Ok, "two"),
                ("second", Level::Warning, "three"),
                ("hanging", Level::Failed, "not done within 0 s"),
            ]
        );
    }
}
