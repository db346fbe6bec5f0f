//! `LogMessage`: one log line of a container, as applications publish it on LOG.

use super::table::{Table, WireError};

/// A verified log line; the slices lie in the buffer that was read, and may hold any bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMessage<'a> {
    /// Id of the container, empty when it is absent.
    pub container_id: &'a [u8],
    /// Name of the container, empty when it is absent.
    pub container_name: &'a [u8],
    /// The line, without a line end of its own.
    pub payload: &'a [u8],
}

pub(super) const CONTAINER_ID: u16 = 0;
pub(super) const CONTAINER_NAME: u16 = 1;
pub(super) const PAYLOAD: u16 = 2;

impl<'a> LogMessage<'a> {
    /// Reads the root table of `buf`. Called once for each log line: takes no memory.
    ///
    /// # Errors
    /// An offset or a length that does not lie in `buf`.
    #[inline]
    pub fn read(buf: &'a [u8]) -> Result<Self, WireError> {
        let table = Table::root(buf)?;
        Ok(Self {
            container_id: table.bytes(CONTAINER_ID)?,
            container_name: table.bytes(CONTAINER_NAME)?,
            payload: table.bytes(PAYLOAD)?,
        })
    }
}
