//! Where a record goes: into the pipeline, or to the console. Never waits, never calls itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use crossbeam_channel::{Sender, TrySendError};
use flexi_logger::DeferredNow;
use flexi_logger::writers::LogWriter;
use log::{Level, Record};

use super::OwnLine;
use super::console::{Console, Stream};
use super::line;
use super::rate::{Rate, Rates};
use super::recent::Recent;
use crate::limits;
use crate::metrics::Metrics;

/// Shared between the logger and its handle.
pub(super) struct Writer {
    /// The way into the pipeline, while there is one.
    pub pipeline: ArcSwapOption<Sender<OwnLine>>,
    /// `cim_file_log`.
    pub file_log: AtomicBool,
    /// What was graver than INFO.
    pub recent: Arc<Recent>,
    rates: Mutex<Rates>,
    /// The threads that are writing a line right now.
    writing: Mutex<Vec<ThreadId>>,
    console: Box<dyn Console>,
    metrics: Option<Arc<Metrics>>,
}

impl Writer {
    pub fn new(console: Box<dyn Console>, metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            pipeline: ArcSwapOption::empty(),
            file_log: AtomicBool::new(true),
            recent: Arc::default(),
            rates: Mutex::new(Rates::new(Rate {
                burst: limits::OWN_LOG_BURST,
                interval: limits::OWN_LOG_INTERVAL,
                sites: limits::OWN_LOG_SITES,
            })),
            writing: Mutex::new(Vec::new()),
            console,
            metrics,
        }
    }

    /// Writes, drops or holds back one record; `now` is for its rate, `time` for its line.
    pub fn record(&self, record: &Record<'_>, now: Instant, time: DateTime<Utc>) {
        let Some(_writing) = Writing::begin(&self.writing) else {
            return self.dropped("recursion");
        };
        let site = (
            record.file_static().unwrap_or_default(),
            record.line().unwrap_or_default(),
        );
        let admitted = lock(&self.rates).admit(site, now);
        let Some(suppressed) = admitted else {
            return self.dropped("rate");
        };
        let level = line::level_name(record);
        let text = line::format(level, time, *record.args(), suppressed);
        if record.level() <= Level::Warn {
            self.recent.keep(&text);
        }
        self.send(text, level == "EXCEPTION");
    }

    /// `grave`: to standard error as well, or instead of standard output.
    fn send(&self, mut text: String, grave: bool) {
        let pipeline = self.pipeline.load();
        let file_log = self.file_log.load(Ordering::Relaxed);
        let stream = if grave { Stream::Err } else { Stream::Out };
        match pipeline.as_deref() {
            Some(sender) if file_log => {
                if grave {
                    let line = format!("{text}\n");
                    self.console_line(Stream::Err, line.as_bytes());
                }
                match sender.try_send(OwnLine(text.into_bytes())) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => self.dropped("full"),
                    Err(TrySendError::Disconnected(OwnLine(mut line))) if !grave => {
                        line.push(b'\n');
                        self.console_line(stream, &line);
                    }
                    Err(TrySendError::Disconnected(_)) => {}
                }
            }
            _ => {
                text.push('\n');
                self.console_line(stream, text.as_bytes());
            }
        }
    }

    fn console_line(&self, stream: Stream, line: &[u8]) {
        if self.console.write(stream, line).is_err() {
            self.dropped("console");
        }
    }

    fn dropped(&self, reason: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.own_lines_dropped.with_label_values(&[reason]).inc();
        }
    }
}

/// While it lives, the thread is writing a line: what its `Display` implementations log is dropped.
struct Writing<'a>(&'a Mutex<Vec<ThreadId>>);

impl<'a> Writing<'a> {
    fn begin(threads: &'a Mutex<Vec<ThreadId>>) -> Option<Self> {
        let me = thread::current().id();
        let mut writing = lock(threads);
        if writing.contains(&me) {
            return None;
        }
        writing.push(me);
        Some(Self(threads))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let me = thread::current().id();
        lock(self.0).retain(|thread| *thread != me);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `flexi_logger` calls.
pub(super) struct Output(pub Arc<Writer>);

impl LogWriter for Output {
    fn write(&self, now: &mut DeferredNow, record: &Record) -> std::io::Result<()> {
        self.0.record(record, Instant::now(), now.now_utc_owned());
        Ok(())
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::fmt;
    use std::io;

    #[derive(Default, Clone)]
    struct Seen(Arc<Mutex<Vec<(Stream, String)>>>, Arc<AtomicBool>);

    impl Console for Seen {
        fn write(&self, stream: Stream, line: &[u8]) -> io::Result<()> {
            if self.1.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let line = String::from_utf8(line.to_vec()).unwrap();
            self.0.lock().unwrap().push((stream, line));
            Ok(())
        }
    }

    impl Seen {
        fn take(&self) -> Vec<(Stream, String)> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    struct Bench {
        writer: Arc<Writer>,
        seen: Seen,
        metrics: Arc<Metrics>,
    }

    impl Bench {
        fn new() -> Self {
            let (seen, metrics) = (Seen::default(), Arc::new(Metrics::new("p").unwrap()));
            let writer = Writer::new(Box::new(seen.clone()), Some(Arc::clone(&metrics)));
            Self {
                writer: Arc::new(writer),
                seen,
                metrics,
            }
        }

        fn log(&self, line: u32, target: &str, args: fmt::Arguments<'_>) {
            let record = Record::builder()
                .level(Level::Error)
                .target(target)
                .file_static(Some("a.rs"))
                .line(Some(line))
                .args(args)
                .build();
            self.writer
                .record(&record, Instant::now(), DateTime::UNIX_EPOCH);
        }

        fn dropped(&self, reason: &str) -> u64 {
            self.metrics
                .own_lines_dropped
                .with_label_values(&[reason])
                .get()
        }
    }

    const TIME: &str = "1970-01-01T00:00:00.000000000";

    #[test]
    fn lines_go_to_the_console_until_the_pipeline_is_there_and_after_it_has_gone() {
        let bench = Bench::new();
        let (sender, receiver) = bounded(10);
        bench.log(1, "cim", format_args!("a"));
        bench.log(2, EXCEPTION, format_args!("b"));
        let out = |level: &str, text: &str| format!("[{level}] : {TIME} -> [{text}]\n");
        assert_eq!(
            bench.seen.take(),
            [
                (Stream::Out, out("ERROR", "a")),
                (Stream::Err, out("EXCEPTION", "b"))
            ]
        );
        bench.writer.pipeline.store(Some(Arc::new(sender)));
        bench.log(3, "cim", format_args!("c"));
        bench.log(4, EXCEPTION, format_args!("d"));
        let lines: Vec<_> = receiver.try_iter().map(|OwnLine(line)| line).collect();
        let line = |level: &str, text: &str| format!("[{level}] : {TIME} -> [{text}]").into_bytes();
        assert_eq!(lines, [line("ERROR", "c"), line("EXCEPTION", "d")]);
        assert_eq!(bench.seen.take(), [(Stream::Err, out("EXCEPTION", "d"))]);
        bench.writer.file_log.store(false, Ordering::Relaxed);
        bench.log(5, "cim", format_args!("e"));
        assert_eq!(bench.seen.take(), [(Stream::Out, out("ERROR", "e"))]);
        assert!(receiver.is_empty());
        bench.writer.file_log.store(true, Ordering::Relaxed);
        drop(receiver);
        bench.log(6, "cim", format_args!("f"));
        assert_eq!(bench.seen.take(), [(Stream::Out, out("ERROR", "f"))]);
        bench.writer.pipeline.store(None);
        bench.log(7, "cim", format_args!("g"));
        assert_eq!(bench.seen.take(), [(Stream::Out, out("ERROR", "g"))]);
    }

    const EXCEPTION: &str = line::EXCEPTION_TARGET;

    #[test]
    fn a_full_channel_and_a_stuck_console_drop_and_count() {
        let bench = Bench::new();
        let (sender, receiver) = bounded(2);
        bench.writer.pipeline.store(Some(Arc::new(sender)));
        for line in 0..5 {
            bench.log(line, "cim", format_args!("{line}"));
        }
        assert_eq!((receiver.len(), bench.dropped("full")), (2, 3));
        bench.writer.pipeline.store(None);
        bench.seen.1.store(true, Ordering::Relaxed);
        bench.log(9, "cim", format_args!("x"));
        assert_eq!(bench.dropped("console"), 1);
    }

    #[test]
    fn a_call_site_beyond_its_rate_is_held_back_and_counted() {
        let bench = Bench::new();
        for _ in 0..100 {
            bench.log(1, "cim", format_args!("again"));
        }
        let burst = limits::OWN_LOG_BURST as usize;
        assert_eq!(bench.seen.take().len(), burst);
        assert_eq!(bench.dropped("rate"), 100 - burst as u64);
        bench.log(2, "cim", format_args!("another"));
        assert_eq!(bench.seen.take().len(), 1);
    }

    #[test]
    fn what_is_logged_while_a_line_is_written_is_dropped() {
        struct Logs<'a>(&'a Bench);
        impl fmt::Display for Logs<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.log(2, "cim", format_args!("inner {}", Logs(self.0)));
                f.write_str("outer")
            }
        }
        let bench = Bench::new();
        bench.log(1, "cim", format_args!("{}", Logs(&bench)));
        bench.log(3, "cim", format_args!("next"));
        let seen = bench.seen.take();
        assert_eq!(seen.len(), 2);
        assert!(seen[0].1.ends_with("[outer]\n"), "{seen:?}");
        assert_eq!(bench.dropped("recursion"), 1);
    }
}
