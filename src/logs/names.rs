//! Names from outside made fit for a file name: injective, bounded, nothing in them that a file system or a terminal
//! reads as more than a letter.
//!
//! Unsafe bytes become `%XX`. A name that is then too long is cut and ends in `%~` and the hash of the whole: no
//! encoded name holds `%~` otherwise.

/// Length of [`push_mark`]'s text: `%~` and 16 hex digits.
pub const MARK_BYTES: usize = 18;

/// `name` percent-encoded, not shortened.
pub fn encode(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || matches!(c, '/' | '\\' | '%') {
                let mut bytes = [0; 4];
                push_percent(&mut out, c.encode_utf8(&mut bytes).as_bytes());
            } else {
                out.push(c);
            }
        }
        push_percent(&mut out, chunk.invalid());
    }
    out
}

/// `encoded` when it has at most `bytes` bytes; else its beginning and the mark of `raw`, `bytes` bytes at most.
pub fn shorten(encoded: String, raw: &[u8], bytes: usize) -> String {
    if encoded.len() <= bytes {
        return encoded;
    }
    let mut end = bytes.saturating_sub(MARK_BYTES).min(encoded.len());
    // Never in the middle of a character, nor of `%XX`.
    while !encoded.is_char_boundary(end) {
        end -= 1;
    }
    if let Some(percent) = encoded.get(..end).and_then(|kept| kept.rfind('%'))
        && percent + 3 > end
    {
        end = percent;
    }
    let mut cut = encoded;
    cut.truncate(end);
    push_mark(&mut cut, hash(&[raw]));
    cut
}

/// Appends `%~` and `hash` as 16 hex digits.
pub fn push_mark(name: &mut String, hash: u64) {
    name.push_str(&format!("%~{hash:016x}"));
}

/// FNV-1a over the parts, each preceded by its length. The same in every version of CIM: it is part of file names.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    };
    for part in parts {
        (part.len() as u64)
            .to_le_bytes()
            .into_iter()
            .for_each(&mut eat);
        part.iter().copied().for_each(&mut eat);
    }
    hash
}

fn push_percent(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str(&format!("%{byte:02X}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unsafe_bytes_are_encoded() {
        for (name, encoded) in [
            (&b"app"[..], "app"),
            (b"", ""),
            (b"../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
            (b"a\0b\x1f\x7f", "a%00b%1F%7F"),
            (b"100%", "100%25"),
            (b"back\\slash", "back%5Cslash"),
            (b"\xff\xc3", "%FF%C3"),
            ("é €".as_bytes(), "é €"),
            ("\u{85}".as_bytes(), "%C2%85"),
        ] {
            assert_eq!(encode(name), encoded);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_marked() {
        let cut = |name: &str| shorten(encode(name.as_bytes()), name.as_bytes(), 20);
        assert_eq!(cut(&"x".repeat(20)), "x".repeat(20));
        assert!(cut(&"x".repeat(21)).starts_with("xx%~"));
        assert!(cut(&format!("é{}", "x".repeat(21))).starts_with("é%~"));
        assert!(cut(&format!("xé{}", "x".repeat(21))).starts_with("x%~"));
        assert!(cut(&format!("/{}", "x".repeat(21))).starts_with("%~"));
        assert_ne!(
            cut(&format!("{}a", "x".repeat(21))),
            cut(&format!("{}b", "x".repeat(21)))
        );
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(format!("{:016x}", hash(&[b"app"])), "c14ad9d251c521ed");
        assert_ne!(hash(&[b"a", b"bc"]), hash(&[b"ab", b"c"]));
    }

    proptest! {
        #[test]
        fn different_names_stay_different(a: Vec<u8>, b: Vec<u8>, bytes in 18usize..80) {
            let of = |name: &[u8]| shorten(encode(name), name, bytes);
            prop_assert_eq!(a == b, of(&a) == of(&b));
        }

        #[test]
        fn nothing_unsafe_is_left(name: Vec<u8>, bytes in 18usize..80) {
            let safe = shorten(encode(&name), &name, bytes);
            prop_assert!(safe.len() <= bytes);
            prop_assert!(!safe.contains(|c: char| c.is_control() || c == '/' || c == '\\'));
        }
    }
}
