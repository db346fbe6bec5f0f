//! How many bytes of a TCP connection its peer has not acknowledged.
//!
//! The kernel tells it by an ioctl (SIOCOUTQ) that no maintained crate offers without `unsafe` on all our architectures.
//! The same number is the `idiag_wqueue` of one socket in the answer of NETLINK_SOCK_DIAG (sock_diag(7)): one short
//! message each way, needing no right. Where netlink is closed to a container, the column `tx_queue` of
//! /proc/self/net/tcp has it too, at the cost of listing every socket.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use crate::limits::{TCP_LISTED_BYTES, TCP_LOOK_LISTED};

/// `SOCK_DIAG_BY_FAMILY`, the only request of sock_diag(7).
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`, an answer that holds a negative error number.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `struct nlmsghdr`: length (4), type (2), flags (2), sequence (4), sender (4).
const HEADER: usize = 16;
/// `struct inet_diag_sockid` in `struct inet_diag_msg`, behind family, state, timer, retransmissions.
const ANSWER_ID: usize = HEADER + 4;
/// The ports (2 each, network order) and addresses (16 each) of a `struct inet_diag_sockid`; interface (4) and cookie (8) follow.
const ENDS: usize = 36;
/// `idiag_wqueue`, behind the id, `idiag_expires` (4) and `idiag_rqueue` (4).
const WRITE_QUEUE: usize = ANSWER_ID + 48 + 8;

/// Asks the kernel about one connection.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    local: SocketAddr,
    peer: SocketAddr,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Netlink { socket: OwnedFd, sequence: u32 },
    Listed { last: Option<Instant> },
}

impl Unacknowledged {
    /// For the connection between these two addresses.
    ///
    /// # Errors
    /// The kernel tells it in none of the ways known here.
    pub fn of(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let mut one = Self {
            local,
            peer,
            source: Source::Listed { last: None },
        };
        let diag = socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        );
        if let Ok(socket) = diag {
            one.source = Source::Netlink {
                socket,
                sequence: 0,
            };
            if one.bytes().is_ok() {
                return Ok(one);
            }
        }
        one.source = Source::Listed { last: None };
        one.bytes()?;
        one.source = Source::Listed { last: None };
        Ok(one)
    }

    /// The bytes that were written and not acknowledged, sent or not; `None` when it is too soon to ask again.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]: the connection is gone. Others: the kernel does not tell.
    pub fn bytes(&mut self) -> io::Result<Option<u32>> {
        match &mut self.source {
            Source::Netlink { socket, sequence } => {
                *sequence = sequence.wrapping_add(1);
                send(
                    &*socket,
                    &request(*sequence, self.local, self.peer),
                    SendFlags::DONTWAIT,
                )?;
                // The kernel answers within the call that asks; an older answer is one whose reading was interrupted.
                loop {
                    let mut block = [0; 512];
                    let (count, _) = match recv(&*socket, &mut block, RecvFlags::DONTWAIT) {
                        // It had no memory for the answer: the next question may have more luck.
                        Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => return Ok(None),
                        other => other?,
                    };
                    let answer = block.get(..count).unwrap_or_default();
                    if number(answer, 8) == Some(*sequence) {
                        return write_queue(answer, self.local, self.peer).map(Some);
                    }
                }
            }
            Source::Listed { last } => {
                let now = Instant::now();
                if last.is_some_and(|last| now.duration_since(last) < TCP_LOOK_LISTED) {
                    return Ok(None);
                }
                *last = Some(now);
                let path = match self.local {
                    SocketAddr::V4(_) => "/proc/self/net/tcp",
                    SocketAddr::V6(_) => "/proc/self/net/tcp6",
                };
                let list = BufReader::new(File::open(path)?.take(TCP_LISTED_BYTES));
                listed(list, self.local, self.peer).map(Some)
            }
        }
    }
}

/// The connection does not exist any more.
fn gone() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// An answer that makes no sense.
fn senseless(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A `struct nlmsghdr` and a `struct inet_diag_req_v2`: exactly this connection.
fn request(sequence: u32, local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(72);
    let length: u32 = 72;
    out.extend(length.to_ne_bytes());
    out.extend(BY_FAMILY.to_ne_bytes());
    out.extend(REQUEST.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]);
    let family = match local {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let [family, _] = family.as_raw().to_le_bytes();
    // struct inet_diag_req_v2: family, protocol, extensions, padding; states, here every one; struct inet_diag_sockid.
    out.extend([family, TCP, 0, 0]);
    out.extend(u32::MAX.to_ne_bytes());
    out.extend(ends(local, peer));
    // A link-local connection is bound to its interface.
    let interface = match peer {
        SocketAddr::V6(peer) => peer.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    out.extend(interface.to_ne_bytes());
    // INET_DIAG_NOCOOKIE: no particular incarnation.
    out.extend([0xff; 8]);
    out
}

/// Ports and addresses as a `struct inet_diag_sockid` has them.
fn ends(local: SocketAddr, peer: SocketAddr) -> [u8; ENDS] {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    };
    let mut out = [0; ENDS];
    let parts = local.port().to_be_bytes().into_iter();
    let parts = parts
        .chain(peer.port().to_be_bytes())
        .chain(address(local.ip()))
        .chain(address(peer.ip()));
    out.iter_mut().zip(parts).for_each(|(to, byte)| *to = byte);
    out
}

/// The number of four bytes at `at`.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_ne_bytes)
}

/// What an answer says about the connection.
fn write_queue(answer: &[u8], local: SocketAddr, peer: SocketAddr) -> io::Result<u32> {
    let kind = answer
        .get(4..6)
        .and_then(|kind| kind.try_into().ok())
        .map(u16::from_ne_bytes);
    match kind {
        Some(BY_FAMILY) => {
            // Without an exact match the kernel may find a listener instead.
            if answer.get(ANSWER_ID..ANSWER_ID + ENDS) != Some(ends(local, peer).as_slice()) {
                return Err(gone());
            }
            number(answer, WRITE_QUEUE).ok_or_else(|| senseless("a short answer of sock_diag"))
        }
        Some(ERROR) => {
            let code = number(answer, HEADER).map_or(0, |code| code.cast_signed());
            match code.checked_neg() {
                Some(code) if code == Errno::NOENT.raw_os_error() => Err(gone()),
                Some(code) if code > 0 => Err(io::Error::from_raw_os_error(code)),
                _ => Err(senseless("an error of sock_diag without a number")),
            }
        }
        _ => Err(senseless("an answer of sock_diag of another kind")),
    }
}

/// `tx_queue` of the connection in the text of /proc/self/net/tcp or tcp6 (Linux, Documentation/networking/proc_net_tcp.rst):
/// number, local and remote address, state, `tx_queue:rx_queue`, all of them hexadecimal.
fn listed(list: impl BufRead, local: SocketAddr, peer: SocketAddr) -> io::Result<u32> {
    let (local, peer) = (listed_address(local), listed_address(peer));
    for line in list.lines() {
        let line = line?;
        let mut columns = line.split_ascii_whitespace().skip(1);
        if columns.next() != Some(&local) || columns.next() != Some(&peer) {
            continue;
        }
        let queues = columns.nth(1).and_then(|queues| queues.split_once(':'));
        return queues
            .and_then(|(written, _)| u32::from_str_radix(written, 16).ok())
            .ok_or_else(|| senseless("a line of /proc/self/net/tcp without tx_queue"));
    }
    Err(gone())
}

/// An address as /proc/self/net/tcp shows it: 32-bit words in the machine's order, and the port.
fn listed_address(address: SocketAddr) -> String {
    let words = match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(ip) => ip
            .octets()
            .chunks_exact(4)
            .filter_map(|word| word.try_into().ok())
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word)))
            .collect(),
    };
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests;
