//! The pod's service account: token and CA, from the folder that the kubelet mounts. The files are chains of links that
//! are swapped by rename when the token is renewed, so each is opened by its path each time.

use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, parse_pem};

use super::error::Cause;
use crate::limits::{KUBE_CA_BYTES, KUBE_TOKEN_BYTES};
use crate::secret::Secret;
use crate::settings::file;

/// Where the service account is mounted.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    dir: PathBuf,
}

impl ServiceAccount {
    /// The one in `dir` (`CIM_SERVICE_ACCOUNT_DIR`).
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The token that is valid now.
    ///
    /// # Errors
    /// No such file, or no token in it. The text says nothing of the content.
    pub fn token(&self) -> Result<Secret, Cause> {
        let path = self.dir.join("token");
        let text = read(&path, KUBE_TOKEN_BYTES)?;
        let token = text.trim_ascii();
        match std::str::from_utf8(token) {
            Ok(token) if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) => {
                Ok(Secret::new(token))
            }
            _ => Err(bad(&path, "holds no token")),
        }
    }

    /// The certificates that the server's must lead to.
    ///
    /// # Errors
    /// No such file, or no certificate in it.
    pub fn roots(&self) -> Result<Vec<Certificate<'static>>, Cause> {
        let path = self.dir.join("ca.crt");
        let text = read(&path, KUBE_CA_BYTES)?;
        let certificate = |item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        };
        let roots: Vec<_> = parse_pem(&text).filter_map(certificate).collect();
        if roots.is_empty() {
            return Err(bad(&path, "holds no certificate"));
        }
        Ok(roots)
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Cause> {
    match file::read(path, limit) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(bad(path, "does not exist")),
        Err(error) => Err(Cause::NoServiceAccount(error.to_string())),
    }
}

fn bad(path: &Path, what: &str) -> Cause {
    Cause::NoServiceAccount(format!("{} {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_token_is_found_after_the_links_were_swapped() {
        let dir = tempfile::tempdir().unwrap();
        let account = ServiceAccount::new(dir.path());
        for version in ["one", "two"] {
            let folder = dir.path().join(version);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("token"), format!("token-{version}\n")).unwrap();
            symlink(version, dir.path().join("new")).unwrap();
            fs::rename(dir.path().join("new"), dir.path().join("..data")).unwrap();
            if version == "one" {
                symlink("..data/token", dir.path().join("token")).unwrap();
            }
            let token = account.token().unwrap();
            assert_eq!(token.reveal(), format!("token-{version}"));
        }
    }

    #[test]
    fn what_is_no_token_or_no_certificate_is_an_error_without_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let account = ServiceAccount::new(dir.path());
        for content in [
            None,
            Some(&b""[..]),
            Some(b" \n"),
            Some(b"geheim geheim"),
            Some(b"geheim\xff"),
            Some(b"geheim\r\nX: y"),
            Some(&[b'x'; KUBE_TOKEN_BYTES as usize + 1]),
        ] {
            if let Some(content) = content {
                fs::write(dir.path().join("token"), content).unwrap();
                fs::write(dir.path().join("ca.crt"), content).unwrap();
            }
            for error in [account.token().unwrap_err(), account.roots().unwrap_err()] {
                assert!(matches!(error, Cause::NoServiceAccount(_)), "{error}");
                assert!(!error.to_string().contains("geheim"), "{error}");
            }
        }
    }

    #[test]
    fn several_certificates_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let pem = || {
            let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
            made.cert.pem()
        };
        fs::write(dir.path().join("ca.crt"), format!("{}\n{}", pem(), pem())).unwrap();
        assert_eq!(ServiceAccount::new(dir.path()).roots().unwrap().len(), 2);
    }
}
