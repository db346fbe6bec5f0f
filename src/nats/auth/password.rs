//! Passwords and tokens as a server keeps them: plain, or as a bcrypt hash (nats-server: `$2a$…`).

use std::fmt;

use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// Digits of a bcrypt hash after `$2`: version, cost, salt and hash.
const BCRYPT_BYTES: usize = 60;

/// What a client's password or token is compared with.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The text itself.
    Plain(Secret),
    /// Its bcrypt hash. Checking one takes tens of milliseconds on purpose: not on the thread of the server.
    Bcrypt(Secret),
}

impl Password {
    /// As nats-server tells them apart: by how a bcrypt hash begins.
    pub fn new(text: Secret) -> Self {
        let bytes = text.reveal().as_bytes();
        let is_hash = bytes.len() == BCRYPT_BYTES
            && matches!(bytes, [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', ..]);
        if is_hash {
            Self::Bcrypt(text)
        } else {
            Self::Plain(text)
        }
    }

    /// Whether `given` is right. A plain one is compared in constant time, but for its length.
    pub fn is(&self, given: &Secret) -> bool {
        match self {
            Self::Plain(expected) => {
                let (expected, given) = (expected.reveal().as_bytes(), given.reveal().as_bytes());
                expected.ct_eq(given).into()
            }
            // A hash that cannot be read fits nothing.
            Self::Bcrypt(hash) => bcrypt::verify(given.reveal(), hash.reveal()).unwrap_or(false),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(***)",
            Self::Bcrypt(_) => "Bcrypt(***)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_ones_and_hashes_are_told_apart_and_compared() {
        let hash = bcrypt::hash("hunter2", 4).unwrap();
        for stored in ["hunter2", &hash, &hash.replace("$2b$", "$2a$")] {
            let password = Password::new(Secret::new(stored));
            assert!(password.is(&Secret::new("hunter2")), "{stored}");
            assert!(!password.is(&Secret::new("hunter")), "{stored}");
            assert!(!password.is(&Secret::new("")), "{stored}");
            assert!(!format!("{password:?}").contains(stored));
        }
        let short = Password::new(Secret::new("$2a$04$"));
        assert!(matches!(short, Password::Plain(_)));
        let broken = Password::new(Secret::new(format!("$2a$99${}", "x".repeat(53))));
        assert!(matches!(broken, Password::Bcrypt(_)) && !broken.is(&Secret::new("x")));
    }
}
