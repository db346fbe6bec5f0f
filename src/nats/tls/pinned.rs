//! Certificates that clients must show one of, known by their public keys (nats-server: `tls { pinned_certs }`).

use sha2::{Digest, Sha256};

use super::names::{SEQUENCE, VERSION, element};

/// SHA-256 of the public key of a certificate, its SubjectPublicKeyInfo in DER form (RFC 5280 section 4.1.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of 64 hexadecimal digits, in either case; `None`: it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u32> = text.chars().map_while(|c| c.to_digit(16)).collect();
        if digits.len() != 64 || text.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, &digit| byte << 4 | digit as u8);
        }
        Some(Self(hash))
    }

    /// Of the key of this certificate in DER form; `None`: it is none.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (SEQUENCE, certificate, _) = element(certificate)? else {
            return None;
        };
        let (SEQUENCE, mut rest, _) = element(certificate)? else {
            return None;
        };
        if let Some((VERSION, _, behind)) = element(rest) {
            rest = behind;
        }
        // Serial number, signature, issuer, validity, subject.
        for _ in 0..5 {
            rest = element(rest)?.2;
        }
        let (SEQUENCE, _, behind) = element(rest)? else {
            return None;
        };
        let key = rest.get(..rest.len() - behind.len())?;
        Some(Self(Sha256::digest(key).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_digits_are_a_hash() {
        let text = "00ff".repeat(16);
        assert_eq!(KeyHash::parse(&text), KeyHash::parse(&text.to_uppercase()));
        assert_eq!(KeyHash::parse(&text).unwrap().0[..3], [0, 0xff, 0]);
        for bad in ["", "00", &text[1..], &format!("{text}0"), &"0g".repeat(32)] {
            assert_eq!(KeyHash::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_is_the_hash_of_the_key_and_of_nothing_else() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |name: &str, key: &rcgen::KeyPair| {
            let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            parameters.self_signed(key).unwrap().der().to_vec()
        };
        let expected =
            KeyHash(Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key)).into());
        let der = certificate("a", &key);
        assert_eq!(KeyHash::of(&der), Some(expected));
        assert_eq!(KeyHash::of(&certificate("b", &key)), Some(expected));
        let other = rcgen::KeyPair::generate().unwrap();
        assert_ne!(KeyHash::of(&certificate("a", &other)), Some(expected));
        for at in 0..der.len() {
            assert_eq!(KeyHash::of(&der[..at]), None, "cut at {at}");
        }
    }
}
