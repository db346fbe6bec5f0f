//! The lines before a message.

/// A message as it came, or as CIM itself sends it.
pub(super) struct Message<'a> {
    pub(super) subject: &'a [u8],
    pub(super) reply: &'a [u8],
    pub(super) header_len: Option<usize>,
    pub(super) body: &'a [u8],
}

/// The lines before a message, but for the ids of the subscriptions in their middle: the same for all who get it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// `HMSG subject `, which `MSG subject ` is a part of.
    start: Vec<u8>,
    /// ` [reply ]length`, and the line end.
    pub(super) plain: Vec<u8>,
    /// ` [reply ]header-length length`, and the line end; only for a message with headers.
    pub(super) with_headers: Vec<u8>,
}

impl Lines {
    pub(super) fn write(&mut self, message: &Message<'_>) {
        let known = self.start.get(b"HMSG ".len()..);
        let is_same = known.and_then(|known| known.strip_suffix(b" ")) == Some(message.subject);
        // A stream has one subject for many messages.
        if !is_same {
            self.start.clear();
            self.start.extend_from_slice(b"HMSG ");
            self.start.extend_from_slice(message.subject);
            self.start.push(b' ');
        }
        let header_len = message.header_len.unwrap_or(0);
        let mut digits = itoa::Buffer::new();
        let mut write = |line: &mut Vec<u8>, numbers: &[usize]| {
            line.clear();
            if !message.reply.is_empty() {
                line.push(b' ');
                line.extend_from_slice(message.reply);
            }
            for &number in numbers {
                line.push(b' ');
                line.extend_from_slice(digits.format(number).as_bytes());
            }
            line.extend_from_slice(b"\r\n");
        };
        write(
            &mut self.plain,
            &[message.body.len().saturating_sub(header_len)],
        );
        if message.header_len.is_some() {
            write(&mut self.with_headers, &[header_len, message.body.len()]);
        }
    }

    pub(super) fn hmsg(&self) -> &[u8] {
        &self.start
    }

    pub(super) fn msg(&self) -> &[u8] {
        self.start.get(1..).unwrap_or_default()
    }
}
