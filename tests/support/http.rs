//! An HTTP/1.1 client for one request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(n, _)| n == name)?;
        Some(&header.1)
    }
}

#[track_caller]
pub fn get(to: SocketAddr, path: &str) -> Answer {
    request(to, "GET", path, b"")
}

#[track_caller]
pub fn post(to: SocketAddr, path: &str, body: &[u8]) -> Answer {
    request(to, "POST", path, body)
}

#[track_caller]
pub fn request(to: SocketAddr, method: &str, path: &str, body: &[u8]) -> Answer {
    raw(
        to,
        &[head(to, method, path, body).as_bytes(), body].concat(),
    )
}

/// As [`post`], to a server that may be away.
pub fn try_post(to: SocketAddr, path: &str, body: &[u8]) -> io::Result<Answer> {
    let bytes = [head(to, "POST", path, body).as_bytes(), body].concat();
    Ok(parse(&exchange(to, &bytes)?))
}

/// As [`get`], from a server that may be away.
pub fn try_get(to: SocketAddr, path: &str) -> io::Result<Answer> {
    let bytes = head(to, "GET", path, b"");
    Ok(parse(&exchange(to, bytes.as_bytes())?))
}

/// The head of a request after which the server is to close.
pub fn head(to: SocketAddr, method: &str, path: &str, body: &[u8]) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
}

/// Sends `bytes` as they are and reads until the server closes.
#[track_caller]
pub fn raw(to: SocketAddr, bytes: &[u8]) -> Answer {
    parse(&exchange(to, bytes).unwrap_or_else(|error| panic!("no answer from {to}: {error}")))
}

fn exchange(to: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

#[track_caller]
fn parse(bytes: &[u8]) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(bytes) else {
        panic!("no HTTP answer: {:?}", String::from_utf8_lossy(bytes));
    };
    let status = response.code.unwrap();
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_ascii_lowercase(), value)
        })
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: bytes[head..].to_vec(),
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = chunks(&answer.body);
    } else if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().unwrap();
        assert!(
            answer.body.len() == length || answer.body.is_empty(),
            "Content-Length {length}, body of {}",
            answer.body.len()
        );
    }
    answer
}

fn chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((head, size))) = httparse::parse_chunk_size(bytes) {
        let size = size as usize;
        if size == 0 {
            break;
        }
        body.extend_from_slice(&bytes[head..head + size]);
        bytes = &bytes[head + size + 2..];
    }
    body
}
