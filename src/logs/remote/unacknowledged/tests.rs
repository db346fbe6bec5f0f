//! What the kernel says, asked in both ways, and answers that say nothing.

use std::io::Write;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;

impl Unacknowledged {
    /// As where netlink is closed.
    pub fn forbid_netlink(&mut self) {
        self.source = Source::Listed { last: None };
    }
}

/// A connection whose peer takes little, with all written that it and the own kernel take; and its two ends.
fn full(address: &str) -> Option<(TcpStream, TcpStream, u64)> {
    let listener = TcpListener::bind(address).ok()?;
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut written = 0;
    // The peer's window grows for a moment.
    for _ in 0..20 {
        while let Ok(count) = stream.write(&[b'x'; 4096]) {
            written += count as u64;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Some((stream, peer, written))
}

fn check(address: &str) {
    // Not every machine has IPv6.
    let Some((stream, peer, written)) = full(address) else {
        return;
    };
    let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let mut asked = Unacknowledged::of(local, remote).unwrap();
    assert!(matches!(asked.source, Source::Netlink { .. }));
    let by_netlink = asked.bytes().unwrap().unwrap();
    asked.forbid_netlink();
    let listed = asked.bytes().unwrap().unwrap();
    assert!(by_netlink >= listed);
    assert_eq!(asked.bytes().unwrap(), None, "too soon");
    let has = rustix::io::ioctl_fionread(&peer).unwrap();
    // It may take some more meanwhile.
    assert!(listed > 0 && written - u64::from(listed) <= has);
    // The peer's end of it, which nobody has written to.
    let mut other = Unacknowledged::of(remote, local).unwrap();
    assert_eq!(other.bytes().unwrap(), Some(0));
    drop(peer);
    drop(stream);
    let gone = Unacknowledged::of(local, remote);
    let gone = gone.and_then(|mut gone| gone.bytes());
    assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn both_ways_tell_the_same() {
    check("127.0.0.1:0");
}

#[test]
fn both_ways_tell_the_same_of_ipv6() {
    check("[::1]:0");
}

#[test]
fn a_listener_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap();
    let nobody = "127.0.0.1:1".parse().unwrap();
    let error = Unacknowledged::of(local, nobody).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn answers_that_say_nothing_are_errors() {
    let local: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let peer: SocketAddr = "127.0.0.1:2".parse().unwrap();
    let answer = |kind: u16, body: &[u8]| {
        let mut answer = vec![0; 4];
        answer.extend(kind.to_ne_bytes());
        answer.extend([0; 10]);
        answer.extend(body);
        write_queue(&answer, local, peer).map_err(|error| error.kind())
    };
    let mut good = vec![2, 1, 0, 0];
    good.extend(ends(local, peer));
    good.extend([0; 12 + 8]);
    good.extend(77u32.to_ne_bytes());
    assert_eq!(answer(BY_FAMILY, &good), Ok(77));
    for (kind, body, error) in [
        (
            BY_FAMILY,
            &good[..good.len() - 1],
            io::ErrorKind::InvalidData,
        ),
        (BY_FAMILY, &good[..10], io::ErrorKind::NotFound),
        (BY_FAMILY, &[0; 80], io::ErrorKind::NotFound),
        (ERROR, &(-2i32).to_ne_bytes(), io::ErrorKind::NotFound),
        (
            ERROR,
            &(-1i32).to_ne_bytes(),
            io::ErrorKind::PermissionDenied,
        ),
        (ERROR, &0i32.to_ne_bytes(), io::ErrorKind::InvalidData),
        (ERROR, &i32::MIN.to_ne_bytes(), io::ErrorKind::InvalidData),
        (ERROR, &[], io::ErrorKind::InvalidData),
        (3, &good, io::ErrorKind::InvalidData),
    ] {
        assert_eq!(answer(kind, body), Err(error), "{kind} {body:?}");
    }
    assert!(write_queue(&[], local, peer).is_err());
}

#[test]
fn a_list_of_sockets_is_read_column_by_column() {
    if cfg!(target_endian = "big") {
        return;
    }
    let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:A001 01 000000AB:00000001 01:00000014 00000000     0        0 1 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:1F90 0100007F:A002 01 nonsense 01:00000014 00000000     0        0 1 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:1F90 0100007F:A003
";
    let local: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let read = |port: u16| {
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        listed(list.as_bytes(), local, peer).map_err(|error| error.kind())
    };
    assert_eq!(read(0xa001), Ok(0xab));
    assert_eq!(read(0xa002), Err(io::ErrorKind::InvalidData));
    assert_eq!(read(0xa003), Err(io::ErrorKind::InvalidData));
    assert_eq!(read(0xa004), Err(io::ErrorKind::NotFound));
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 80));
    assert_eq!(
        listed_address(address),
        "00000000000000000000000001000000:0050"
    );
}
