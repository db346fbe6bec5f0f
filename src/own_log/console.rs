//! Standard output and standard error, for lines that do not go through the pipeline. A reader that has stopped reading
//! must not stop CIM: a line that cannot be written at once is not written.
//!
//! The descriptors are used directly, because the lock of `std::io::stdout` may be held by a writer that waits.

use std::io;
use std::sync::Mutex;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Takes whole lines, and never waits.
pub trait Console: Send + Sync {
    /// Writes a line, line end included, of at most [`crate::limits::OWN_LOG_LINE_BYTES`].
    ///
    /// # Errors
    /// It would have to wait (`WouldBlock`), or the stream is gone.
    fn write(&self, stream: Stream, line: &[u8]) -> io::Result<()>;
}

/// The process's own streams.
#[derive(Debug, Default)]
pub struct Stdio {
    /// One line at a time, so that between the question "is there room" and the write no other line of ours comes.
    one: Mutex<()>,
}

impl Console for Stdio {
    fn write(&self, stream: Stream, line: &[u8]) -> io::Result<()> {
        let _one = self.one.lock();
        match stream {
            Stream::Out => write_at_once(rustix::stdio::stdout(), line),
            Stream::Err => write_at_once(rustix::stdio::stderr(), line),
        }
    }
}

fn write_at_once(fd: BorrowedFd<'_>, line: &[u8]) -> io::Result<()> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    // A pipe that says yes takes 4096 bytes whole: no line is longer.
    if poll(&mut fds, Some(&Timespec::default()))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    rustix::io::write(fd, line)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use rustix::fd::AsFd;

    #[test]
    fn a_full_pipe_is_refused_at_once_and_lines_are_never_torn() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let line = [vec![b'x'; limits::OWN_LOG_LINE_BYTES - 1], vec![b'\n']].concat();
        let mut written = 0;
        let error = loop {
            match write_at_once(writer.as_fd(), &line) {
                Ok(()) => written += line.len(),
                Err(e) => break e,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(writer);
        let mut read = Vec::new();
        io::Read::read_to_end(&mut std::fs::File::from(reader), &mut read).unwrap();
        assert_eq!(read.len(), written);
        assert!(read.chunks(line.len()).all(|chunk| chunk == line));
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        assert!(write_at_once(writer.as_fd(), b"x\n").is_err());
    }
}
