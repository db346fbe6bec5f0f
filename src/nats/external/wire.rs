//! How the bytes to and from an external server travel: plain, or through TLS.

use std::io::{self, BufRead, Write};
use std::net::TcpStream;

use rustix::buffer::spare_capacity;
use rustls::{ClientConnection, StreamOwned};

/// A socket, blocking or not, and the TLS on it.
#[derive(Debug)]
pub enum Wire {
    /// No TLS.
    Plain(TcpStream),
    /// A handshake is behind or before it: the first read or write makes it.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.sock,
        }
    }

    /// Bytes that were written wait for the socket still: [`Write::flush`] sends them.
    pub fn is_waiting(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.conn.wants_write(),
        }
    }
}

impl Wire {
    /// One read into the free space of `buffer`.
    ///
    /// # Errors
    /// Those of the socket, and of TLS. Never [`io::ErrorKind::Interrupted`].
    pub fn read_into(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Plain(socket) => {
                    rustix::io::read(socket, spare_capacity(buffer)).map_err(io::Error::from)
                }
                Self::Tls(tls) => tls.fill_buf().map(|chunk| {
                    buffer.extend_from_slice(chunk);
                    chunk.len()
                }),
            };
            match (read, &mut *self) {
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
                (Ok(count), Self::Tls(tls)) => {
                    tls.consume(count);
                    return Ok(count);
                }
                (read, _) => return read,
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
