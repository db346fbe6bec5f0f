//! What the kernel holds for a connection that is not read.

use std::io;

use mio::net::TcpListener;
use rustix::net::sockopt;

use crate::limits::NATS_RECEIVE_BYTES;

/// Sets what the kernel takes from a client before CIM reads it, for all connections that come to `listener`; the machine's
/// `net.core.rmem_max` may make it less.
///
/// Left to itself the kernel begins with 128 KiB, which is soon full when a stream is read every other millisecond, and may go on to as much
/// as `net.ipv4.tcp_rmem` says, 32 MiB since Linux 6.18. It is memory of the pod: publishers that are held back would fill it.
///
/// # Errors
/// Those of the operating system.
pub(super) fn set_receive_buffers(listener: &TcpListener) -> io::Result<()> {
    Ok(sockopt::set_socket_recv_buffer_size(
        listener,
        NATS_RECEIVE_BYTES,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_the_size_of_their_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = std::net::TcpStream::connect(address).unwrap();
        sockopt::set_socket_recv_buffer_size(&own, NATS_RECEIVE_BYTES).unwrap();
        let listener = TcpListener::from_std(listener);
        set_receive_buffers(&listener).unwrap();
        let _late = std::net::TcpStream::connect(address).unwrap();
        // The one that came before it was set is as the kernel has it.
        let (early, _) = listener.accept().unwrap();
        let (late, _) = listener.accept().unwrap();
        let size = |stream| sockopt::socket_recv_buffer_size(stream).unwrap();
        assert_eq!(size(&late), sockopt::socket_recv_buffer_size(&own).unwrap());
        assert_ne!(size(&late), size(&early));
    }
}
