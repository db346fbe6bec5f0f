//! Log lines as nats-server writes them: `[PID] 2006/01/02 15:04:05.000000 [INF] text`.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

use chrono::Utc;
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Console(Mutex<Box<dyn Write + Send>>);

/// Writes them to `file`, or to standard error.
///
/// # Errors
/// The file cannot be opened.
pub fn start(file: Option<&str>) -> io::Result<()> {
    let out: Box<dyn Write + Send> = match file {
        Some(path) => Box::new(File::options().create(true).append(true).open(path)?),
        None => Box::new(io::stderr()),
    };
    log::set_boxed_logger(Box::new(Console(Mutex::new(out)))).map_err(io::Error::other)?;
    log::set_max_level(LevelFilter::Info);
    Ok(())
}

impl Log for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Error => "ERR",
            Level::Warn => "WRN",
            Level::Info => "INF",
            Level::Debug | Level::Trace => "DBG",
        };
        let time = Utc::now().format("%Y/%m/%d %H:%M:%S%.6f");
        let line = format!(
            "[{}] {time} [{level}] {}\n",
            std::process::id(),
            record.args()
        );
        if let Ok(mut out) = self.0.lock() {
            // Nobody may be reading any more.
            let _ = out.write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
