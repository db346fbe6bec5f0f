//! Verified access to one table of a FlatBuffer.
//!
//! Format: little-endian. The buffer begins with the offset of the root table (u32). A table begins with the distance
//! back to its vtable (i32); the vtable holds its own length and the table's (u16 each), then for each field its
//! distance from the table (u16, 0 = absent). A string or vector field holds the distance (u32) from itself to a length
//! (u32) and the content.

/// Why a buffer could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than the offset of a root table.
    #[error("the buffer is too short for a FlatBuffer")]
    Short,
    /// The root table, or a table in a list, lies outside the buffer.
    #[error("a table lies outside the buffer")]
    Table,
    /// A vtable lies outside the buffer, or its length is impossible.
    #[error("a vtable is not valid")]
    Vtable,
    /// A field lies outside the buffer.
    #[error("field {0} lies outside the buffer")]
    Field(u16),
    /// A string or a list reaches beyond the end of the buffer.
    #[error("the content of field {0} reaches beyond the buffer")]
    Content(u16),
    /// The strings of an event, which may be shared within the buffer, add up to more than
    /// [`crate::limits::EVENT_CONTENT_BYTES`].
    #[error("the lists of the event add up to too many bytes")]
    TooLarge,
}

/// Bytes of the u32 offsets and lengths.
pub(super) const OFFSET: usize = 4;
/// Bytes of a vtable before its fields.
const VTABLE_HEAD: usize = 4;

#[inline]
fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    let bytes = buf.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*bytes))
}

/// The u32 at `at`, as a distance within a buffer.
#[inline]
pub(super) fn u32_at(buf: &[u8], at: usize) -> Option<usize> {
    let bytes = buf.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

/// Where the offset stored at `at` points to.
#[inline]
pub(super) fn follow(buf: &[u8], at: usize) -> Option<usize> {
    at.checked_add(u32_at(buf, at)?)
}

/// A table whose vtable lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    buf: &'a [u8],
    /// Offset of the table.
    at: usize,
    /// The fields of the vtable: two bytes each.
    fields: &'a [u8],
}

impl<'a> Table<'a> {
    /// The root table of `buf`.
    #[inline]
    pub(super) fn root(buf: &'a [u8]) -> Result<Self, WireError> {
        Self::at(buf, u32_at(buf, 0).ok_or(WireError::Short)?)
    }

    /// The table at `at`.
    #[inline]
    pub(super) fn at(buf: &'a [u8], at: usize) -> Result<Self, WireError> {
        let back = buf
            .get(at..)
            .and_then(|rest| rest.first_chunk::<4>())
            .ok_or(WireError::Table)?;
        // Both fit: an offset in a buffer is below 2^63, the distance is an i32.
        let vtable = (at as i64)
            .checked_sub(i64::from(i32::from_le_bytes(*back)))
            .and_then(|vtable| usize::try_from(vtable).ok())
            .ok_or(WireError::Vtable)?;
        let len = usize::from(u16_at(buf, vtable).ok_or(WireError::Vtable)?);
        let fields = buf
            .get(vtable..)
            .and_then(|rest| rest.get(VTABLE_HEAD..len))
            .ok_or(WireError::Vtable)?;
        Ok(Self { buf, at, fields })
    }

    /// Offset of field `id`, `None` when it is absent.
    #[inline]
    fn field(&self, id: u16) -> Option<usize> {
        match u16_at(self.fields, usize::from(id) * 2) {
            None | Some(0) => None,
            Some(distance) => self.at.checked_add(usize::from(distance)),
        }
    }

    /// The bytes of string `id`, empty when it is absent.
    #[inline]
    pub(super) fn bytes(&self, id: u16) -> Result<&'a [u8], WireError> {
        let Some(at) = self.field(id) else {
            return Ok(&[]);
        };
        let start = follow(self.buf, at).ok_or(WireError::Field(id))?;
        let (len, content) = self
            .buf
            .get(start..)
            .and_then(|rest| rest.split_first_chunk::<OFFSET>())
            .ok_or(WireError::Content(id))?;
        usize::try_from(u32::from_le_bytes(*len))
            .ok()
            .and_then(|len| content.get(..len))
            .ok_or(WireError::Content(id))
    }

    /// The i64 of field `id`, 0 when it is absent.
    pub(super) fn i64(&self, id: u16) -> Result<i64, WireError> {
        let Some(at) = self.field(id) else {
            return Ok(0);
        };
        self.buf
            .get(at..)
            .and_then(|rest| rest.first_chunk::<8>())
            .map(|bytes| i64::from_le_bytes(*bytes))
            .ok_or(WireError::Field(id))
    }

    /// The vector of offsets `id`: where its first element lies, and how many there are; all lie in the buffer.
    pub(super) fn vector(&self, id: u16) -> Result<(usize, usize), WireError> {
        let Some(at) = self.field(id) else {
            return Ok((0, 0));
        };
        let start = follow(self.buf, at).ok_or(WireError::Field(id))?;
        let count = u32_at(self.buf, start).ok_or(WireError::Content(id))?;
        let first = start.checked_add(OFFSET).ok_or(WireError::Content(id))?;
        let room = self.buf.get(first..).map_or(0, |rest| rest.len() / OFFSET);
        if count > room {
            return Err(WireError::Content(id));
        }
        Ok((first, count))
    }
}
