//! Thread `signals`: tells the daemon of SIGTERM, SIGINT and SIGHUP. Ends when its [`Handle`] is closed.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};

use super::spawn::{Notice, spawn};

/// Starts the thread. SIGXFSZ (a file over the process's size limit) is kept from ending the process: the write that
/// caused it fails, and is dealt with there.
///
/// # Errors
/// The signals cannot be caught, or the thread cannot be made.
pub fn start(notices: &Sender<Notice>) -> io::Result<(JoinHandle<()>, Handle)> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGXFSZ])?;
    let handle = signals.handle();
    let to = notices.clone();
    let thread = spawn("signals", notices, move || {
        for signal in signals.forever().filter(|&signal| signal != SIGXFSZ) {
            // A burst of one signal becomes one while it waits here, and no other is lost behind it.
            let _ = to.send(Notice::Signal(signal));
        }
    })?;
    Ok((thread, handle))
}
