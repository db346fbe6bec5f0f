//! The monitoring pages over TLS: CIM has them without it alone, so each connection is passed on, one request each.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Time for each read and write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `listener` until the process ends, from what is at `pages`.
///
/// # Errors
/// No thread.
pub fn start(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    pages: SocketAddr,
) -> io::Result<()> {
    listener.set_nonblocking(false)?;
    let serve = move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                if let Err(error) = pass(stream, config, pages) {
                    log::warn!("HTTPS: {error}");
                }
            });
        }
    };
    thread::Builder::new().name("https".into()).spawn(serve)?;
    Ok(())
}

fn pass(stream: TcpStream, config: Arc<ServerConfig>, pages: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = BufReader::new(StreamOwned::new(session, stream));
    let mut first = String::new();
    client.read_line(&mut first)?;
    // What the header says does not matter to these pages.
    let mut line = String::new();
    while client.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut to = TcpStream::connect(pages)?;
    to.set_read_timeout(Some(PATIENCE))?;
    write!(to, "{first}Host: {pages}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    to.read_to_end(&mut answer)?;
    let client = client.get_mut();
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}
