//! As much of HTTP/2 (RFC 9113) and HPACK (RFC 7541) as one request after the other needs, by hand.

use std::io::{self, ErrorKind, Read, Write};

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let [a, b, c, kind, flags, s @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload)?;
        Ok(Self {
            kind,
            flags,
            stream: u32::from_be_bytes(s),
            payload,
        })
    }
}

fn write(to: &mut impl Write, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    to.write_all(&frame)
}

/// A request: its stream, header and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct H2Request {
    pub stream: u32,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// One connection, after the preface.
#[derive(Default)]
pub struct H2Connection {
    /// Header fields that the client has put into the dynamic table, newest first.
    table: Vec<(String, String)>,
    greeted: bool,
}

impl H2Connection {
    /// Reads up to the end of the next request; `None` when the client is done.
    pub fn request(&mut self, stream: &mut (impl Read + Write)) -> io::Result<Option<H2Request>> {
        if !std::mem::replace(&mut self.greeted, true) {
            write(stream, SETTINGS, 0, 0, &[])?;
        }
        let mut request: Option<H2Request> = None;
        let mut block = Vec::new();
        loop {
            let frame = match Frame::read(stream) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                frame => frame?,
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => write(stream, SETTINGS, ACK, 0, &[])?,
                PING if frame.flags & ACK == 0 => write(stream, PING, ACK, 0, &frame.payload)?,
                HEADERS | CONTINUATION => {
                    // No padding and no priority: the clients here send neither.
                    assert_eq!(frame.flags & 0x28, 0);
                    block.extend_from_slice(&frame.payload);
                    let request = request.get_or_insert(H2Request {
                        stream: frame.stream,
                        headers: Vec::new(),
                        body: Vec::new(),
                    });
                    if frame.flags & END_HEADERS != 0 {
                        request.headers = self.fields(&block);
                    }
                }
                DATA => {
                    let body = &mut request.as_mut().expect("DATA after HEADERS").body;
                    body.extend_from_slice(&frame.payload);
                    if !frame.payload.is_empty() {
                        let taken = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
                        for id in [0, frame.stream] {
                            write(stream, WINDOW_UPDATE, 0, id, &taken)?;
                        }
                    }
                }
                RST_STREAM => request = None,
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Ok(request);
            }
        }
    }

    /// Answers a request. The body must fit what the client takes at once; windows are not looked at.
    pub fn answer(to: &mut impl Write, stream: u32, status: u16, body: &[u8]) -> io::Result<()> {
        // `:status` is name 8 of the static table: a literal without indexing and without Huffman code.
        let mut block = vec![0x08, 3];
        block.extend_from_slice(status.to_string().as_bytes());
        let end = if body.is_empty() { END_STREAM } else { 0 };
        write(to, HEADERS, END_HEADERS | end, stream, &block)?;
        let mut parts = body.chunks(16 << 10).peekable();
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() {
                END_STREAM
            } else {
                0
            };
            write(to, DATA, end, stream, part)?;
        }
        Ok(())
    }

    fn field(&self, index: usize) -> (String, String) {
        let (name, value) = match STATIC_TABLE.get(index - 1) {
            Some((name, value)) => (*name, *value),
            None => {
                let (name, value) = &self.table[index - 1 - STATIC_TABLE.len()];
                (name.as_str(), value.as_str())
            }
        };
        (name.to_owned(), value.to_owned())
    }

    fn fields(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut rest = block;
        let mut fields = Vec::new();
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                fields.push(self.field(integer(&mut rest, 7)));
                continue;
            }
            if first & 0xe0 == 0x20 {
                integer(&mut rest, 5);
                continue;
            }
            let indexed = first & 0x40 != 0;
            let name = match integer(&mut rest, if indexed { 6 } else { 4 }) {
                0 => text(&mut rest),
                index => self.field(index).0,
            };
            let field = (name, text(&mut rest));
            if indexed {
                self.table.insert(0, field.clone());
            }
            fields.push(field);
        }
        fields
    }
}

/// An integer with a prefix of `bits` (RFC 7541, 5.1).
fn integer(rest: &mut &[u8], bits: u32) -> usize {
    let most = (1 << bits) - 1;
    let (&first, after) = rest.split_first().unwrap();
    *rest = after;
    let mut value = usize::from(first) & most;
    let mut shift = 0;
    while value >= most && (shift > 0 || value == most) {
        let (&next, after) = rest.split_first().unwrap();
        *rest = after;
        value += usize::from(next & 0x7f) << shift;
        shift += 7;
        if next & 0x80 == 0 {
            break;
        }
    }
    value
}

/// A string (RFC 7541, 5.2).
fn text(rest: &mut &[u8]) -> String {
    let huffman = rest[0] & 0x80 != 0;
    let length = integer(rest, 7);
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    let bytes = if huffman {
        unpack(bytes)
    } else {
        bytes.to_vec()
    };
    String::from_utf8(bytes).unwrap()
}

/// The characters of the Huffman code (RFC 7541, Appendix B) that header fields here are made of, by length in bits. The
/// code is canonical: counting on from one to the next, and doubling where the length grows, gives it.
const HUFFMAN: [(u32, &[u8]); 9] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
];

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut code, mut length) = (0_u32, 0);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        let (mut first, mut last) = (0_u32, 5);
        for (bits, characters) in HUFFMAN {
            first <<= bits - last;
            last = bits;
            if bits == length {
                if let Some(&character) = characters.get(code.wrapping_sub(first) as usize) {
                    out.push(character);
                    (code, length) = (0, 0);
                }
                break;
            }
            first += u32::try_from(characters.len()).unwrap();
        }
    }
    // What is left is padding: ones, fewer than eight.
    assert!(
        length < 8 && code == (1 << length) - 1,
        "a character outside the table"
    );
    out
}

/// RFC 7541, Appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
