//! Users that prove who they are with a key: a signature (Ed25519) of the nonce in INFO. Source: nats-server's nkey authentication.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nkeys::KeyPair;

use crate::random;

/// Random bytes of a nonce. nats-server: 11.
const NONCE_BYTES: usize = 11;

/// A nonce for one connection, as text.
pub fn new_nonce() -> String {
    let mut bytes = [0u8; NONCE_BYTES];
    random::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whether `signature` (base64) is that of `nonce` by the owner of the public key `key`.
pub(super) fn is_signed(key: &str, nonce: &str, signature: &str) -> bool {
    let decoded = URL_SAFE_NO_PAD
        .decode(signature)
        .or_else(|_| STANDARD.decode(signature));
    let (Ok(pair), Ok(signature)) = (KeyPair::from_public_key(key), decoded) else {
        return false;
    };
    !nonce.is_empty() && pair.verify(nonce.as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        let (pair, other) = (KeyPair::new_user(), KeyPair::new_user());
        let nonce = new_nonce();
        assert_eq!((nonce.len(), nonce == new_nonce()), (15, false));
        let signature = pair.sign(nonce.as_bytes()).unwrap();
        let (key, text) = (pair.public_key(), URL_SAFE_NO_PAD.encode(&signature));
        assert!(is_signed(&key, &nonce, &text));
        assert!(is_signed(&key, &nonce, &STANDARD.encode(&signature)));
        for (key, nonce, text) in [
            (other.public_key(), nonce.as_str(), text.as_str()),
            (key.clone(), "other", &text),
            (
                key.clone(),
                "",
                &URL_SAFE_NO_PAD.encode(pair.sign(b"").unwrap()),
            ),
            (key.clone(), &nonce, ""),
            (key.clone(), &nonce, "!"),
            (key.clone(), &nonce, "AAAA"),
            ("UXXX".to_owned(), &nonce, &text),
        ] {
            assert!(!is_signed(&key, nonce, text), "{key} {nonce} {text}");
        }
    }
}
