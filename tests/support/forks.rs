//! Programs started one side, sockets that must be free the moment they are closed the other. Until it has become another program, a
//! child holds every socket of this process, in whichever thread: a port closed then is still listened on.

use std::io;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};

static FORKS: RwLock<()> = RwLock::new(());

/// Starts `command`; all that a test with a [`no_child_holds`] in it starts goes through here.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _forking = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Runs `command` to its end.
pub fn output(command: &mut Command) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command.stdin(Stdio::null()))?.wait_with_output()
}

/// Runs `close` while no child that is just being started has a copy of what it closes.
pub fn no_child_holds(close: impl FnOnce()) {
    let _none = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    close();
}
