//! Who a client's certificate says that it is (RFC 5280: subject, subject alternative name), in the forms that nats-server looks for
//! among its users. Reads the DER of a certificate whose signature is checked already; what it does not understand it passes over.

use crate::limits::{CERTIFICATE_NAME_BYTES, CERTIFICATE_NAMES};

/// The names of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// E-mail addresses, DNS names and URIs, in this order: each may be a user's name.
    pub alternative: Vec<String>,
    /// The subject as text, as Go writes it; one with the domain components behind it comes first.
    pub subject: Vec<String>,
    /// Type and value of each part of the subject, the last one first, as a distinguished name is written (RFC 4514).
    parts: Vec<(String, String)>,
}

pub(super) const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
pub(super) const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const DOMAIN_COMPONENT: &[u8] = &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25];
/// Of GeneralName: rfc822Name, dNSName, uniformResourceIdentifier.
const NAME_FORMS: [u8; 3] = [0x81, 0x82, 0x86];
/// The attributes that Go's `pkix.Name` keeps, in the order in which its text has them, by the last arc behind 2.5.4; those of
/// which it keeps one only.
const ATTRIBUTES: [(u8, &str, bool); 9] = [
    (5, "SERIALNUMBER", true),
    (3, "CN", true),
    (11, "OU", false),
    (10, "O", false),
    (17, "POSTALCODE", false),
    (9, "STREET", false),
    (7, "L", false),
    (8, "ST", false),
    (6, "C", false),
];

impl CertificateNames {
    /// Reads a certificate in DER form.
    pub fn read(certificate: &[u8]) -> Self {
        let mut names = Self::default();
        let Some((subject, extensions)) = certificate_parts(certificate) else {
            return names;
        };
        names.read_subject(subject);
        names.read_alternative(extensions);
        names
    }

    /// All candidates in the order in which nats-server tries them; between the two groups it tries [`Self::is_subject`].
    pub fn candidates(&self) -> impl Iterator<Item = &str> {
        self.alternative
            .iter()
            .chain(&self.subject)
            .map(String::as_str)
    }

    /// `user` is the distinguished name (`CN=a,OU=b`) of the certificate's subject: its parts in their order.
    pub fn is_subject_in_order(&self, user: &str) -> bool {
        !self.parts.is_empty() && parse_name(user).as_ref() == Some(&self.parts)
    }

    /// `user` is a distinguished name (`CN=a,OU=b`) with the parts of the certificate's subject, in any order.
    pub fn is_subject(&self, user: &str) -> bool {
        let Some(mut wanted) = parse_name(user) else {
            return false;
        };
        let mut parts = self.parts.clone();
        wanted.sort();
        parts.sort();
        !parts.is_empty() && wanted == parts
    }

    fn read_subject(&mut self, subject: &[u8]) {
        let mut found: Vec<(&[u8], String)> = Vec::new();
        for (_, set) in elements(subject) {
            for (_, attribute) in elements(set) {
                let mut fields = elements(attribute);
                if let (Some((OID, kind)), Some((tag, value))) = (fields.next(), fields.next())
                    && let Some(value) = text(tag, value)
                    && found.len() < CERTIFICATE_NAMES
                {
                    found.push((kind, value));
                }
            }
        }
        let of = |kind: &[u8]| -> Vec<&str> {
            found
                .iter()
                .filter(|(other, _)| *other == kind)
                .map(|(_, value)| value.as_str())
                .collect()
        };
        let name_of = |kind: &[u8]| {
            let arc = kind.strip_prefix(&[0x55, 4]);
            let mut known = ATTRIBUTES.iter();
            match known.find(|(known, _, _)| arc == Some(&[*known])) {
                Some((_, name, _)) => Some(*name),
                None => (kind == DOMAIN_COMPONENT).then_some("DC"),
            }
        };
        let parts = found.iter().rev();
        self.parts = parts
            .filter_map(|(kind, value)| Some((name_of(kind)?.to_owned(), value.clone())))
            .collect();
        let components = of(DOMAIN_COMPONENT);
        let mut groups = Vec::new();
        for (arc, name, is_single) in ATTRIBUTES {
            let mut values = of(&[0x55, 4, arc]);
            if is_single {
                values = values.pop().into_iter().collect();
            }
            let values: Vec<_> = values
                .iter()
                .map(|v| format!("{name}={}", escaped(v)))
                .collect();
            if !values.is_empty() {
                groups.push(values.join("+"));
            }
        }
        let subject = groups.join(",");
        if !components.is_empty() {
            let components: Vec<_> = components.iter().map(|v| format!("DC={v}")).collect();
            self.subject
                .push(format!("{subject},{}", components.join(",")));
        }
        if !subject.is_empty() {
            self.subject.push(subject);
        }
    }

    fn read_alternative(&mut self, extensions: &[u8]) {
        let Some(names) = elements(extensions).find_map(|(_, extension)| {
            let mut fields = elements(extension);
            let (_, id) = fields.next()?;
            let (_, value) = fields.find(|&(tag, _)| tag == OCTET_STRING)?;
            (id == SUBJECT_ALT_NAME).then_some(value)
        }) else {
            return;
        };
        let Some((SEQUENCE, names, _)) = element(names) else {
            return;
        };
        for form in NAME_FORMS {
            let of_form = elements(names).filter(|&(tag, _)| tag == form);
            let texts = of_form.filter_map(|(_, name)| {
                let name = std::str::from_utf8(name).ok()?;
                (name.len() <= CERTIFICATE_NAME_BYTES).then(|| name.to_owned())
            });
            let room = CERTIFICATE_NAMES.saturating_sub(self.alternative.len());
            self.alternative.extend(texts.take(room));
        }
    }
}

/// Subject, and the list of extensions (empty when there are none).
fn certificate_parts(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (SEQUENCE, certificate, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, to_be_signed, _) = element(certificate)? else {
        return None;
    };
    let mut fields = elements(to_be_signed).peekable();
    fields.next_if(|&(tag, _)| tag == VERSION);
    // Serial number, signature, issuer, validity.
    let (_, subject) = fields.nth(4)?;
    let extensions = fields.find(|&(tag, _)| tag == EXTENSIONS);
    let extensions = extensions.and_then(|(_, list)| element(list));
    Some((subject, extensions.map_or(&[][..], |(_, list, _)| list)))
}

/// The first element of `input`: tag, content, what is behind it. Tags have one byte here, and lengths up to four.
pub(super) fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = input else {
        return None;
    };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = digits
                .iter()
                .fold(0u64, |n, &digit| n << 8 | u64::from(digit));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// All elements of `input`, up to one that cannot be read.
fn elements(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, content, rest) = element(input)?;
        input = rest;
        Some((tag, content))
    })
}

/// A string of one of the kinds that names have.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    if value.len() > CERTIFICATE_NAME_BYTES {
        return None;
    }
    match tag {
        // UTF8String, NumericString, PrintableString, TeletexString, IA5String.
        12 | 18 | 19 | 20 | 22 => String::from_utf8(value.to_vec()).ok(),
        // BMPString.
        30 => {
            let units = value.chunks_exact(2).map(|unit| match unit {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

/// RFC 2253 section 2.4, as Go does it.
fn escaped(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let escape = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if escape {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The parts of a distinguished name in text form, `None` when it is none.
fn parse_name(name: &str) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut equals = None;
    let mut chars = name.chars();
    loop {
        let c = chars.next();
        match c {
            Some('\\') => part.push(chars.next()?),
            Some('=') if equals.is_none() => {
                equals = Some(part.len());
                part.push('=');
            }
            Some(c) if c != ',' && c != '+' => part.push(c),
            end => {
                let (kind, value) = part.split_at_checked(equals.take()?)?;
                let value = value.strip_prefix('=')?.trim();
                if parts.len() >= CERTIFICATE_NAMES || value.is_empty() {
                    return None;
                }
                parts.push((kind.trim().to_ascii_uppercase(), value.to_owned()));
                if end.is_none() {
                    return Some(parts);
                }
                part.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    fn certificate(subject: &[(DnType, &str)], names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params
                .distinguished_name
                .push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
        }
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn dc() -> DnType {
        DnType::CustomDnType(vec![0, 9, 2342, 19200300, 100, 1, 25])
    }

    #[test]
    fn names_come_in_the_order_in_which_nats_server_tries_them() {
        let der = certificate(
            &[
                (DnType::CountryName, "US"),
                (DnType::StateOrProvinceName, "CA"),
                (DnType::LocalityName, "Los Angeles"),
                (DnType::OrganizationName, "Example, Inc."),
                (DnType::OrganizationalUnitName, "CNCF"),
                (DnType::CommonName, "#1 app "),
                (dc(), "org"),
            ],
            vec![
                SanType::URI("spiffe://localhost/app".try_into().unwrap()),
                SanType::DnsName("app.svc".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
                SanType::Rfc822Name("app@example.com".try_into().unwrap()),
            ],
        );
        let names = CertificateNames::read(&der);
        let subject = r"CN=\#1 app\ ,OU=CNCF,O=Example\, Inc.,L=Los Angeles,ST=CA,C=US";
        let with_dc = format!("{subject},DC=org");
        assert_eq!(
            names.candidates().collect::<Vec<_>>(),
            [
                "app@example.com",
                "app.svc",
                "spiffe://localhost/app",
                &with_dc,
                subject
            ]
        );
    }

    #[test]
    fn a_user_may_be_named_as_the_subject_in_any_order() {
        let der = certificate(
            &[
                (DnType::CommonName, "a,b"),
                (DnType::OrganizationName, "o"),
                (dc(), "org"),
            ],
            vec![],
        );
        let names = CertificateNames::read(&der);
        for (user, expected) in [
            (r"CN=a\,b,O=o,DC=org", true),
            (r"dc=org, o=o, cn=a\,b", true),
            (r"DC=org,O=o,CN=a\,b", true),
            (r"O=o+CN=a\,b,DC=org", true),
            (r"CN=a\,b,O=o", false),
            (r"CN=a\,b,O=o,DC=org,DC=org", false),
            ("CN=a", false),
            ("app", false),
            ("", false),
            ("=", false),
            (",", false),
            (r"CN=\", false),
        ] {
            assert_eq!(names.is_subject(user), expected, "{user}");
            let in_order = user.to_lowercase().starts_with("dc");
            assert_eq!(names.is_subject_in_order(user), in_order, "{user}");
        }
        assert!(!CertificateNames::read(b"").is_subject(""));
    }

    #[test]
    fn a_certificate_that_is_cut_or_changed_anywhere_panics_nowhere() {
        let name = SanType::DnsName("app.svc".try_into().unwrap());
        let der = certificate(&[(DnType::CommonName, "app")], vec![name]);
        for at in 0..der.len() {
            CertificateNames::read(&der[..at]);
            for byte in [0, 0x1e, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[at] = byte;
                CertificateNames::read(&changed);
            }
        }
    }
}
