//! Standard output, written without waiting for its reader for ever.
//!
//! Its flags are not touched: the description is shared with whoever else has it. Instead each write follows a poll
//! and is at most PIPE_BUF bytes, which a pipe with room takes without blocking. Writes end between lines where lines
//! are that short, so that an outage tears none of them; of a longer one the rest comes first when it is over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::limits;

/// Why lines could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Nobody read for too long.
    #[error("standard output has stood still for {0:?}")]
    Stalled(Duration),
    /// The operating system refused.
    #[error("standard output failed: {0}")]
    Failed(#[from] Errno),
}

/// Standard output and the formatted lines that wait for it.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    stall: Duration,
    regular: bool,
    buffer: Vec<u8>,
    /// Where each line ends in `buffer`.
    ends: Vec<usize>,
    /// What is left of a line that an outage has cut; the line itself is somebody else's by then.
    rest: Vec<u8>,
}

impl Output {
    /// Writes to `fd`; `stall` without progress is an error.
    ///
    /// # Errors
    /// `fd` cannot be looked at.
    pub fn new(fd: OwnedFd, stall: Duration) -> io::Result<Self> {
        let mode = fstat(&fd)?.st_mode;
        Ok(Self {
            fd,
            stall,
            regular: FileType::from_raw_mode(mode) == FileType::RegularFile,
            buffer: Vec::new(),
            ends: Vec::new(),
            rest: Vec::new(),
        })
    }

    /// Adds a line: `format` appends its text.
    pub fn line(&mut self, format: impl FnOnce(&mut Vec<u8>)) {
        format(&mut self.buffer);
        self.buffer.push(b'\n');
        self.ends.push(self.buffer.len());
    }

    /// Enough lines wait for a [`Output::flush`].
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= limits::STDOUT_BLOCK_BYTES
    }

    /// A write would not block, as far as can be told.
    pub fn has_room(&self) -> bool {
        self.regular || matches!(self.wait(Duration::ZERO), Ok(true))
    }

    /// Writes all lines; returns how many are out as a whole, and what stopped it. The others are forgotten: the caller
    /// has them still.
    pub fn flush(&mut self) -> (usize, Result<(), OutputError>) {
        let mut rest = std::mem::take(&mut self.rest);
        let (taken, mut result) = self.write(&rest, &[]);
        rest.drain(..taken);
        self.rest = rest;
        let mut lines = 0;
        if result.is_ok() {
            let (buffer, ends) = (
                std::mem::take(&mut self.buffer),
                std::mem::take(&mut self.ends),
            );
            let (taken, outcome) = self.write(&buffer, &ends);
            lines = ends.partition_point(|end| *end <= taken);
            let begun = lines
                .checked_sub(1)
                .and_then(|last| ends.get(last))
                .is_none_or(|end| *end < taken);
            if let Some(end) = ends.get(lines).filter(|_| begun && taken > 0) {
                self.rest = buffer.get(taken..*end).unwrap_or_default().to_vec();
            }
            (self.buffer, self.ends) = (buffer, ends);
            result = outcome;
        }
        self.buffer.clear();
        self.buffer.shrink_to(2 * limits::STDOUT_BLOCK_BYTES);
        self.ends.clear();
        self.ends.shrink_to(limits::STDOUT_BLOCK_BYTES / 16);
        (lines, result)
    }

    /// Writes `bytes`, if it can between the lines that end at `ends`; returns how many were taken.
    fn write(&self, bytes: &[u8], ends: &[usize]) -> (usize, Result<(), OutputError>) {
        let mut taken = 0;
        while taken < bytes.len() {
            let mut until = bytes.len();
            if !self.regular {
                until = until.min(taken + limits::STDOUT_WRITE_BYTES);
                let whole = ends.partition_point(|end| *end <= until);
                let last = whole.checked_sub(1).and_then(|last| ends.get(last));
                until = last.copied().filter(|end| *end > taken).unwrap_or(until);
                match self.wait(self.stall) {
                    Ok(true) => {}
                    Ok(false) => return (taken, Err(OutputError::Stalled(self.stall))),
                    Err(error) => return (taken, Err(error.into())),
                }
            }
            match rustix::io::write(&self.fd, bytes.get(taken..until).unwrap_or_default()) {
                Ok(n) => taken += n,
                // Somebody else made it non-blocking and was faster: wait again.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return (taken, Err(error.into())),
            }
        }
        (taken, Ok(()))
    }

    /// Waits for room; false when there is none after `time`.
    fn wait(&self, time: Duration) -> Result<bool, Errno> {
        let time = Timespec::try_from(time).map_err(|_| Errno::INVAL)?;
        loop {
            let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::OUT)];
            match poll(&mut fds, Some(&time)) {
                Ok(0) => return Ok(false),
                Ok(_) => {
                    let [fd] = &fds;
                    let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
                    return if fd.revents().intersects(broken) {
                        Err(Errno::PIPE)
                    } else {
                        Ok(true)
                    };
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
