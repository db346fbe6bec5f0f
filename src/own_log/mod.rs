//! CIM's own log (CONTRACT section 6): the `log` macros, through `flexi_logger`, into CIM's own log pipeline.
//!
//! A line goes into the pipeline once that is attached and while `cim_file_log` is true; else to standard output. A line of
//! level EXCEPTION (what ends CIM) goes to standard error besides the pipeline, and instead of standard output. No line
//! waits: when the pipeline or the console has no room it is dropped and counted. A call site has a burst and then one line
//! a second, so what the writer of log lines logs itself cannot go round in circles.
//!
//! ```text
//! line.rs   record -> line       rate.rs   lines of a call site       console.rs   stdout and stderr       writer.rs   which way
//! recent.rs the last grave lines
//! ```

mod console;
pub mod line;
mod rate;
mod recent;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;
use flexi_logger::{
    ErrorChannel, FlexiLoggerError, LevelFilter, LogSpecBuilder, LogSpecification, Logger,
    LoggerHandle,
};

use crate::metrics::Metrics;
use crate::settings::{CimSettings, LogLevel};
pub use line::EXCEPTION_TARGET;
pub use recent::Recent;

/// Logs what ends CIM: level EXCEPTION.
#[macro_export]
macro_rules! exception {
    ($($arg:tt)+) => {
        ::log::log!(target: $crate::own_log::EXCEPTION_TARGET, ::log::Level::Error, $($arg)+)
    };
}

/// One line of CIM's own log, without its line end: what travels through the pipeline as container `cim`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLine(pub Vec<u8>);

/// CIM's own log could not be started.
#[derive(Debug, thiserror::Error)]
#[error("CIM's own log cannot be started")]
pub struct OwnLogError(#[from] FlexiLoggerError);

/// The handle of CIM's own log. When it is dropped, lines go to the console.
pub struct OwnLog {
    logger: LoggerHandle,
    writer: Arc<writer::Writer>,
}

impl OwnLog {
    /// Makes this the process's logger; lines go to the console.
    ///
    /// # Errors
    /// The process has a logger already.
    pub fn start(level: LogLevel, metrics: Option<Arc<Metrics>>) -> Result<Self, OwnLogError> {
        let console = Box::new(console::Stdio::default());
        let writer = Arc::new(writer::Writer::new(console, metrics));
        let logger = Logger::with(specification(level))
            .log_to_writer(Box::new(writer::Output(Arc::clone(&writer))))
            // flexi_logger itself would write to stderr and wait there.
            .error_channel(ErrorChannel::DevNull)
            .panic_if_error_channel_is_broken(false)
            .start()?;
        Ok(Self { logger, writer })
    }

    /// From now on lines go into the pipeline, as long as `cim_file_log` is true.
    pub fn attach(&self, pipeline: Sender<OwnLine>) {
        self.writer.pipeline.store(Some(Arc::new(pipeline)));
    }

    /// From now on lines go to the console; the pipeline's sender is dropped.
    pub fn detach(&self) {
        self.writer.pipeline.store(None);
    }

    /// The last lines of level WARNING and above.
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.writer.recent)
    }

    /// Puts level and `cim_file_log` in force.
    pub fn apply(&self, settings: &CimSettings) {
        self.writer
            .file_log
            .store(settings.cim_file_log, Ordering::Relaxed);
        self.logger.set_new_spec(specification(settings.log_level));
    }
}

impl Drop for OwnLog {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Which records are written. Those of other crates at INFO and graver only: what they trace in the path of a log line
/// would make a log line.
fn specification(level: LogLevel) -> LogSpecification {
    let own = match level {
        LogLevel::All => LevelFilter::Trace,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Exception => LevelFilter::Off,
    };
    let mut builder = LogSpecBuilder::new();
    builder
        .default(own.min(LevelFilter::Info))
        .module(env!("CARGO_PKG_NAME"), own)
        .module(EXCEPTION_TARGET, LevelFilter::Error);
    builder.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn a_level_lets_itself_and_graver_through() {
        use Level::{Debug, Error, Info, Trace, Warn};
        for (level, passes) in [
            (LogLevel::All, &[Error, Warn, Info, Debug, Trace][..]),
            (LogLevel::Debug, &[Error, Warn, Info, Debug]),
            (LogLevel::Info, &[Error, Warn, Info]),
            (LogLevel::Warning, &[Error, Warn]),
            (LogLevel::Error, &[Error]),
            (LogLevel::Exception, &[]),
        ] {
            let specification = specification(level);
            for record in [Error, Warn, Info, Debug, Trace] {
                let own = passes.contains(&record);
                let name = level.name();
                assert_eq!(
                    specification.enabled(record, "cim::nats"),
                    own,
                    "{name} {record}"
                );
                let foreign = own && record <= Info;
                assert_eq!(
                    specification.enabled(record, "mio::poll"),
                    foreign,
                    "{name} {record}"
                );
            }
            assert!(specification.enabled(Error, EXCEPTION_TARGET));
        }
    }
}
