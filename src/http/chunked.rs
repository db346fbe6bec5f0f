//! The chunked transfer coding (RFC 9112, 7.1), byte by byte, so that any cut of the input gives the same body.
//!
//! Chunk extensions and trailer fields are read and dropped; together they have the bound of a request's head.

use super::RequestError;

/// Digits of a chunk size: enough for any size below the bound of a body, with leading zeros.
const SIZE_DIGITS: u8 = 16;

#[derive(Debug)]
enum State {
    /// In the hexadecimal digits of a chunk's size.
    Size { value: usize, digits: u8 },
    /// After them: extensions, which are skipped.
    Extension { value: usize },
    /// The size line's CR was read.
    SizeEnd { value: usize },
    /// In a chunk's data.
    Data { rest: usize },
    /// After a chunk's data.
    DataCr,
    /// After the CR that follows a chunk's data.
    DataLf,
    /// In a trailer line that has so many bytes.
    Trailer { line: usize },
    /// A trailer line's CR was read.
    TrailerEnd { line: usize },
}

/// Decodes one body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of extensions and trailers that may still come.
    extras: usize,
}

const BAD_SIZE: RequestError = RequestError::Malformed("a chunk's size");
const BAD_END: RequestError = RequestError::Malformed("the end of a chunk");
const BAD_TRAILER: RequestError = RequestError::Malformed("a trailer line");

impl Chunked {
    /// `extras` bounds the bytes of extensions and trailers.
    pub fn new(extras: usize) -> Self {
        Self {
            state: State::Size {
                value: 0,
                digits: 0,
            },
            extras,
        }
    }

    /// Appends to `body` (at most `limit` bytes in all) what `input` holds of it. Gives the bytes used, and whether the
    /// body is complete.
    pub fn decode(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(usize, bool), RequestError> {
        let mut used = 0;
        while let Some(rest) = input.get(used..)
            && let Some(&byte) = rest.first()
        {
            if let State::Data { rest: wanted } = self.state {
                let data = rest.get(..wanted).unwrap_or(rest);
                body.extend_from_slice(data);
                used += data.len();
                self.state = match wanted - data.len() {
                    0 => State::DataCr,
                    rest => State::Data { rest },
                };
                continue;
            }
            used += 1;
            match self.step(byte, limit.saturating_sub(body.len()), limit)? {
                Some(next) => self.state = next,
                None => return Ok((used, true)),
            }
        }
        Ok((used, false))
    }

    /// The state after a byte that is no data; `None`: the body is complete.
    fn step(&mut self, byte: u8, room: usize, limit: usize) -> Result<Option<State>, RequestError> {
        Ok(Some(match (&self.state, byte) {
            (&State::Size { value, digits }, b'\r') if digits > 0 => State::SizeEnd { value },
            (&State::Size { value, digits }, b';' | b' ' | b'\t') if digits > 0 => {
                self.extra()?;
                State::Extension { value }
            }
            (&State::Size { value, digits }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(BAD_SIZE)? as usize;
                if digits == SIZE_DIGITS {
                    return Err(BAD_SIZE);
                }
                let value = value.saturating_mul(16).saturating_add(digit);
                if value > room {
                    return Err(RequestError::BodyTooLarge { limit });
                }
                State::Size {
                    value,
                    digits: digits + 1,
                }
            }
            (&State::Extension { value }, b'\r') => State::SizeEnd { value },
            (&State::Extension { value }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extra()?;
                State::Extension { value }
            }
            (State::Extension { .. }, _) => return Err(BAD_SIZE),
            (State::SizeEnd { value: 0 }, b'\n') => State::Trailer { line: 0 },
            (&State::SizeEnd { value }, b'\n') => State::Data { rest: value },
            (State::SizeEnd { .. }, _) => return Err(BAD_SIZE),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size {
                value: 0,
                digits: 0,
            },
            (State::Data { .. } | State::DataCr | State::DataLf, _) => return Err(BAD_END),
            (&State::Trailer { line }, b'\r') => State::TrailerEnd { line },
            (&State::Trailer { line }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extra()?;
                State::Trailer { line: line + 1 }
            }
            (State::TrailerEnd { line: 0 }, b'\n') => return Ok(None),
            (State::TrailerEnd { .. }, b'\n') => State::Trailer { line: 0 },
            (State::Trailer { .. } | State::TrailerEnd { .. }, _) => return Err(BAD_TRAILER),
        }))
    }

    fn extra(&mut self) -> Result<(), RequestError> {
        self.extras = self
            .extras
            .checked_sub(1)
            .ok_or(RequestError::ExtrasTooLarge)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 32;

    /// Decodes `input` cut in pieces of `step` bytes.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>), RequestError> {
        let mut chunked = Chunked::new(16);
        let mut body = Vec::new();
        let mut from = 0;
        for piece in input.chunks(step) {
            let (used, done) = chunked.decode(piece, &mut body, LIMIT)?;
            from += used;
            if done {
                return Ok((body, Some(from)));
            }
            assert_eq!(used, piece.len(), "nothing is left over in the middle");
        }
        Ok((body, None))
    }

    /// Every cut gives `body` and leaves `left` bytes behind.
    fn check(input: &str, body: &str, left: usize) {
        for step in [1, 2, 3, input.len()] {
            let (got, used) = decode(input.as_bytes(), step).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), body, "{input:?} by {step}");
            assert_eq!(used, Some(input.len() - left), "{input:?} by {step}");
        }
    }

    fn check_error(input: &str, error: &RequestError) {
        for step in [1, 2, 3, input.len()] {
            assert_eq!(
                decode(input.as_bytes(), step).unwrap_err(),
                *error,
                "{input:?} by {step}"
            );
        }
    }

    #[test]
    fn bodies() {
        check("0\r\n\r\n", "", 0);
        check("5\r\nhello\r\n0\r\n\r\n", "hello", 0);
        check("5\r\nhello\r\n00000\r\n\r\n", "hello", 0);
        check(
            "1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\nGET",
            "a0123456789",
            3,
        );
        check("2;x=y\r\nab\r\n0\r\n\r\n", "ab", 0);
        check("2 \r\nab\r\n0\r\nTrail: er\r\n\r\n", "ab", 0);
        check("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", 0);
        check(
            "20\r\n0123456789abcdef0123456789abcdef\r\n0\r\n\r\n",
            "0123456789abcdef0123456789abcdef",
            0,
        );
    }

    #[test]
    fn bad_bodies() {
        for input in [
            "\r\n",
            ";x\r\n",
            "g\r\n",
            "-1\r\n",
            "5\n",
            "0x5\r\n",
            "5;\n",
            "5\rx",
            "00000000000000000\r\n",
        ] {
            check_error(input, &BAD_SIZE);
        }
        check_error("2\r\nabc", &BAD_END);
        check_error("2\r\nab\n", &BAD_END);
        check_error("2\r\nab\rx", &BAD_END);
        check_error("0\r\nA: b\n", &BAD_TRAILER);
        check_error("0\r\n\rx", &BAD_TRAILER);
        check_error("0\r\nA\0", &BAD_TRAILER);
    }

    #[test]
    fn a_size_is_refused_before_its_data_comes() {
        let too_large = RequestError::BodyTooLarge { limit: LIMIT };
        check_error("21\r\n", &too_large);
        check_error("ffffffffffffffff\r\n", &too_large);
        check_error("20\r\n0123456789abcdef0123456789abcdef\r\n1", &too_large);
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        check_error("1;0123456789abcdef\r\n", &RequestError::ExtrasTooLarge);
        check_error(
            "0\r\nA: 0123456789abcdef\r\n",
            &RequestError::ExtrasTooLarge,
        );
    }
}
