//! `Event`: what applications publish on EVENT.

use super::table::{OFFSET, Table, WireError, follow};
use crate::limits::EVENT_CONTENT_BYTES;

/// A verified event; the slices lie in the buffer that was read, and may hold any bytes. Absent fields are empty, or 0.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What happened.
    pub event_name: &'a [u8],
    /// When, in milliseconds since the epoch.
    pub event_time: i64,
    /// Id of the container that says so.
    pub container_id: &'a [u8],
    /// What it happened to.
    pub managed_object: KeyValues<'a>,
    /// Further facts.
    pub additional_info: KeyValues<'a>,
    /// Thresholds that were crossed.
    pub threshold_info: KeyValues<'a>,
    /// States before and after.
    pub state_change_definition: KeyValues<'a>,
    /// What was watched.
    pub monitored_attributes: KeyValues<'a>,
    /// Id of the source.
    pub source_id: &'a [u8],
    /// Name of the source.
    pub source_name: &'a [u8],
    /// Kind of the source.
    pub event_source_type: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads the root table of `buf` and verifies it down to the last string. Takes no memory.
    ///
    /// # Errors
    /// An offset or a length that does not lie in `buf`; [`WireError::TooLarge`] when the lists, whose entries may share
    /// bytes of the buffer, add up to more than [`EVENT_CONTENT_BYTES`].
    pub fn read(buf: &'a [u8]) -> Result<Self, WireError> {
        let table = Table::root(buf)?;
        let mut budget = EVENT_CONTENT_BYTES;
        let mut list = |id| KeyValues::read(buf, &table, id, &mut budget);
        Ok(Self {
            managed_object: list(3)?,
            additional_info: list(4)?,
            threshold_info: list(5)?,
            state_change_definition: list(6)?,
            monitored_attributes: list(7)?,
            event_name: table.bytes(0)?,
            event_time: table.i64(1)?,
            container_id: table.bytes(2)?,
            source_id: table.bytes(8)?,
            source_name: table.bytes(9)?,
            event_source_type: table.bytes(10)?,
        })
    }

    /// The five lists with their names in `cim.fbs`.
    pub fn lists(&self) -> [(&'static str, KeyValues<'a>); 5] {
        [
            ("managed_object", self.managed_object),
            ("additional_info", self.additional_info),
            ("threshold_info", self.threshold_info),
            ("state_change_definition", self.state_change_definition),
            ("monitored_attributes", self.monitored_attributes),
        ]
    }
}

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The name.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl<'a> KeyValue<'a> {
    fn read(buf: &'a [u8], at: usize) -> Result<Self, WireError> {
        let table = Table::at(buf, at)?;
        Ok(Self {
            key: table.bytes(0)?,
            value: table.bytes(1)?,
        })
    }
}

/// A list of [`KeyValue`]s. It was verified whole when the event was read; entries are found when they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct KeyValues<'a> {
    buf: &'a [u8],
    first: usize,
    count: usize,
}

impl<'a> KeyValues<'a> {
    /// What an entry costs beside its strings: it bounds the number of entries too.
    const ENTRY_BYTES: usize = 32;

    fn read(
        buf: &'a [u8],
        table: &Table<'a>,
        id: u16,
        budget: &mut usize,
    ) -> Result<Self, WireError> {
        let (first, count) = table.vector(id)?;
        let list = Self { buf, first, count };
        for n in 0..count {
            let entry = list.entry(n)?;
            let cost = Self::ENTRY_BYTES
                .saturating_add(entry.key.len())
                .saturating_add(entry.value.len());
            *budget = budget.checked_sub(cost).ok_or(WireError::TooLarge)?;
        }
        Ok(list)
    }

    fn entry(&self, n: usize) -> Result<KeyValue<'a>, WireError> {
        // `n` is below `count`, whose offsets lie in the buffer.
        let at = follow(self.buf, self.first + n * OFFSET).ok_or(WireError::Table)?;
        KeyValue::read(self.buf, at)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// There is no entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
        let list = *self;
        // Verified when the event was read: none is lost here.
        (0..list.count).map_while(move |n| list.entry(n).ok())
    }
}
