//! Certificates, and a NATS client over TLS whose every byte is the test's own. Every wait has a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls::{ProtocolVersion, SupportedProtocolVersion};

use super::PATIENCE;

/// A certificate authority.
pub struct Authority {
    issuer: rcgen::Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Writes `<name>.pem`, `<name>.key` and the authority's own `<name>.ca`, good for both ends of a connection to loopback.
    pub fn issue(&self, dir: &Path, name: &str) {
        self.issue_with(dir, name, |_| {});
    }

    /// As [`Self::issue`], with something else than usual.
    pub fn issue_with(&self, dir: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        params.subject_alt_names = vec![SanType::IpAddress(loopback)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |extension: &str, text: String| {
            std::fs::write(dir.join(format!("{name}.{extension}")), text).unwrap();
        };
        write("pem", certificate.pem());
        write("key", key.serialize_pem());
        write("ca", self.pem.clone());
    }
}

/// Settings of a client that trusts the authorities in the file `ca` of `dir` and has the certificate `name`, if any.
pub fn client_config(dir: &Path, ca: &str, name: Option<&str>) -> Arc<ClientConfig> {
    client_config_of(dir, ca, name, rustls::ALL_VERSIONS)
}

pub fn client_config_of(
    dir: &Path,
    ca: &str,
    name: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let certificates = |file: &str| -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_file_iter(dir.join(file)).unwrap();
        all.map(Result::unwrap).collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
            let chain = certificates(&format!("{name}.pem"));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

/// A connection to the NATS port, with its INFO read in plain text.
pub fn plain(to: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("INFO");
        line.push(byte[0]);
    }
    (stream, String::from_utf8(line).unwrap())
}

/// A NATS client over TLS.
pub struct TlsWire {
    pub tls: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

impl TlsWire {
    /// Does the handshake on a connection, and nothing else.
    pub fn shake(stream: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let client = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut tls = StreamOwned::new(client, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(Self {
            tls,
            received: Vec::new(),
        })
    }

    /// As a stock client does: INFO, handshake, CONNECT, PING, PONG.
    pub fn connect(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let (stream, info) = plain(to);
        assert!(info.contains("\"tls_required\":true"), "{info}");
        let mut wire = Self::shake(stream, config)?;
        wire.try_send(b"CONNECT {\"verbose\":false,\"tls_required\":true}\r\nPING\r\n")?;
        match wire.try_line()?.as_str() {
            "PONG" => Ok(wire),
            line => Err(io::Error::other(line.to_owned())),
        }
    }

    pub fn version(&self) -> ProtocolVersion {
        self.tls.conn.protocol_version().unwrap()
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.write_all(bytes)?;
        self.tls.flush()
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes it in time");
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut block = [0; 16 << 10];
        match self.tls.read(&mut block)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => {
                self.received.extend_from_slice(&block[..n]);
                Ok(())
            }
        }
    }

    /// The next line without its CR LF; PINGs of the server are answered and skipped.
    pub fn try_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received) {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if line != "PING" {
                    return Ok(line);
                }
                self.try_send(b"PONG\r\n")?;
                continue;
            }
            self.fill()?;
        }
    }

    /// The next line must be `text`.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.try_line().expect("a line"), text);
    }

    #[track_caller]
    pub fn ping_pong(&mut self) {
        self.send(b"PING\r\n");
        self.expect("PONG");
    }

    /// The next `count` bytes.
    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            self.fill().expect("more bytes");
        }
        self.received.drain(..count).collect()
    }

    /// The server ends the connection; returns what it said before, and whether it said goodbye (`close_notify`).
    #[track_caller]
    pub fn rest(&mut self) -> (String, bool) {
        let said_goodbye = loop {
            match self.tls.read(&mut [0; 1024]) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("still open"),
                Err(_) => break false,
            }
        };
        let said = std::mem::take(&mut self.received);
        (String::from_utf8_lossy(&said).into_owned(), said_goodbye)
    }

    /// Says goodbye and goes on reading.
    pub fn close_notify(&mut self) {
        self.tls.conn.send_close_notify();
        self.tls.flush().unwrap();
    }

    /// Ends its side of the connection without a word.
    pub fn shut(&mut self) {
        self.tls.sock.shutdown(Shutdown::Write).unwrap();
    }
}

/// All that still comes on a connection; it must end.
#[track_caller]
pub fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("still open: {rest:?}"),
        // Closed with unread bytes: a reset.
        _ => rest,
    }
}
