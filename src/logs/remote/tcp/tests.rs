//! The sink against real sockets of this process: readers that read, that do not, that end in each way.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use rustix::io::ioctl_fionread;

use super::*;

/// How long anything may take that normally takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// A turn that does not wait long for what does not come.
const SHORT: Duration = Duration::from_millis(20);

/// A collector that takes one connection; `window` bytes in its kernel, the default when 0.
fn listener(window: usize) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    if window > 0 {
        socket.set_recv_buffer_size(window).unwrap();
    }
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(&any.into()).unwrap();
    socket.listen(1).unwrap();
    socket.into()
}

/// A sink and the collector's end of its connection.
fn pair(window: usize) -> (TcpSink, TcpStream) {
    let listener = listener(window);
    let address = listener.local_addr().unwrap().to_string();
    let sink = TcpSink::connect(&CachingResolver::default(), &address, &Legacy::default()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_nonblocking(true).unwrap();
    (sink, peer)
}

fn put(sink: &mut TcpSink, chunk: u64, line: &[u8]) -> bool {
    sink.line(chunk, 0, &mut |out| out.extend_from_slice(line))
        .unwrap()
}

/// What is there to read.
fn read(peer: &mut TcpStream, into: &mut Vec<u8>) {
    let mut block = [0; 64 << 10];
    loop {
        match peer.read(&mut block) {
            Ok(0) => panic!("the sink closed"),
            Ok(count) => into.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Turns until `done` holds.
#[track_caller]
fn turn_until(
    sink: &mut TcpSink,
    arrived: &mut Vec<Arrived>,
    mut done: impl FnMut(&TcpSink, &[Arrived]) -> bool,
) {
    let start = Instant::now();
    while !done(sink, arrived) {
        assert!(start.elapsed() < PATIENCE, "{arrived:?}");
        sink.turn(SHORT, arrived).unwrap();
    }
}

/// Turns until the sink fails.
#[track_caller]
fn turn_to_the_end(sink: &mut TcpSink, arrived: &mut Vec<Arrived>) -> RemoteError {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "{arrived:?}");
        if let Err(error) = sink.turn(SHORT, arrived) {
            return error;
        }
    }
}

fn lines(arrived: &[Arrived]) -> u32 {
    arrived.iter().map(|one| one.lines).sum()
}

/// As much as the sink takes, in chunks of ten lines of `size` bytes with their line ends.
fn fill(sink: &mut TcpSink, arrived: &mut Vec<Arrived>, size: usize) -> u32 {
    let mut taken = 0;
    let line = vec![b'x'; size - 1];
    loop {
        while put(sink, u64::from(taken / 10), &line) {
            taken += 1;
        }
        let known = sink.written;
        sink.turn(SHORT, arrived).unwrap();
        if known == sink.written && !sink.has_room() {
            return taken;
        }
    }
}

#[test]
fn lines_arrive_in_order_each_with_its_line_end() {
    let (mut sink, mut peer) = pair(0);
    assert!(sink.is_idle());
    for (chunk, line) in [
        (1, "a"),
        (1, ""),
        (2, "b\nb"),
        (1, "again"),
        (3, "\u{fffd}"),
    ] {
        assert!(put(&mut sink, chunk, line.as_bytes()));
    }
    assert!(!sink.is_idle());
    let mut arrived = Vec::new();
    turn_until(&mut sink, &mut arrived, |sink, _| sink.is_idle());
    let of = |chunk, lines| Arrived {
        chunk,
        lines,
        rejected: None,
    };
    assert_eq!(arrived, [of(1, 2), of(2, 1), of(1, 1), of(3, 1)]);
    let mut got = Vec::new();
    read(&mut peer, &mut got);
    assert_eq!(got, "a\n\nb\nb\nagain\n\u{fffd}\n".as_bytes());
}

#[test]
fn what_the_kernel_of_the_peer_has_counts_although_nobody_reads() {
    let (mut sink, peer) = pair(0);
    let mut arrived = Vec::new();
    for chunk in 0..100 {
        assert!(put(&mut sink, chunk, b"0123456789"));
    }
    turn_until(&mut sink, &mut arrived, |_, arrived| lines(arrived) == 100);
    assert_eq!(ioctl_fionread(&peer).unwrap(), 1100);
}

#[test]
fn a_reader_that_stands_still_fills_the_sink_and_loses_nothing_when_it_goes_on() {
    let (mut sink, mut peer) = pair(16 << 10);
    let mut arrived = Vec::new();
    let taken = fill(&mut sink, &mut arrived, 100);
    assert!(u64::from(lines(&arrived)) * 100 <= ioctl_fionread(&peer).unwrap());
    // Lines that arrive together count together.
    turn_until(&mut sink, &mut arrived, |_, arrived| {
        let has = ioctl_fionread(&peer).unwrap();
        u64::from(lines(arrived)) * 100 + 2 * limits::TCP_MARK_BYTES > has
    });
    let has = ioctl_fionread(&peer).unwrap();
    let kept = taken as usize * 100 - has as usize;
    let bound = limits::TCP_WAITING_BYTES + 2 * limits::TCP_KERNEL_BYTES;
    assert!(kept < bound, "{kept}");

    let mut got = Vec::new();
    turn_until(&mut sink, &mut arrived, |sink, _| {
        read(&mut peer, &mut got);
        sink.is_idle()
    });
    read(&mut peer, &mut got);
    assert_eq!((lines(&arrived), got.len()), (taken, taken as usize * 100));
    let in_order = arrived.windows(2).all(|two| two[0].chunk <= two[1].chunk);
    assert!(in_order, "{arrived:?}");
    assert!(sink.waiting.capacity() <= 2 * limits::TCP_WAITING_BYTES);
}

#[test]
fn a_turn_ends_as_soon_as_there_is_room_again() {
    let (mut sink, mut peer) = pair(16 << 10);
    let mut arrived = Vec::new();
    fill(&mut sink, &mut arrived, 100);
    let mut got = Vec::new();
    let reader = std::thread::spawn(move || {
        let start = Instant::now();
        while got.len() < 100 << 10 && start.elapsed() < PATIENCE {
            read(&mut peer, &mut got);
        }
        peer
    });
    let start = Instant::now();
    while !put(&mut sink, u64::MAX, b"more") {
        sink.turn(PATIENCE, &mut arrived).unwrap();
    }
    assert!(start.elapsed() < PATIENCE);
    drop(reader.join().unwrap());
}

#[test]
fn long_lines_go_in_parts_and_their_memory_is_given_back() {
    let (mut sink, mut peer) = pair(16 << 10);
    let long: Vec<u8> = (0..1 << 20).map(|n| b'a' + (n % 23) as u8).collect();
    let mut arrived = Vec::new();
    let mut want = Vec::new();
    let mut got = Vec::new();
    for chunk in 0..3 {
        turn_until(&mut sink, &mut arrived, |sink, _| {
            read(&mut peer, &mut got);
            sink.has_room()
        });
        assert!(put(&mut sink, chunk, &long));
        assert!(!put(&mut sink, chunk, b"no room behind it"));
        want.extend_from_slice(&long);
        want.push(b'\n');
    }
    turn_until(&mut sink, &mut arrived, |sink, _| {
        read(&mut peer, &mut got);
        sink.is_idle()
    });
    read(&mut peer, &mut got);
    assert!(got == want);
    assert_eq!(lines(&arrived), 3);
    assert!(sink.waiting.capacity() <= limits::TCP_WAITING_BYTES);
}

#[test]
fn short_lines_of_many_chunks_take_a_bounded_memory() {
    let (mut sink, peer) = pair(0);
    let mut chunk = 0;
    while put(&mut sink, chunk, b"") {
        chunk += 1;
    }
    assert_eq!(chunk, limits::TCP_MARKS as u64);
    let mut arrived = Vec::new();
    turn_until(&mut sink, &mut arrived, |sink, _| sink.is_idle());
    assert_eq!(lines(&arrived), limits::TCP_MARKS as u32);
    assert!(sink.marks.capacity() <= limits::TCP_MARKS / 32);
    drop(peer);
}

#[test]
fn a_reset_is_an_error_and_what_was_not_acknowledged_has_not_arrived() {
    let (mut sink, peer) = pair(16 << 10);
    let mut arrived = Vec::new();
    let taken = fill(&mut sink, &mut arrived, 100);
    let has = ioctl_fionread(&peer).unwrap();
    // With bytes unread, closing is a reset.
    drop(peer);
    let error = turn_to_the_end(&mut sink, &mut arrived);
    let RemoteError::Broken { peer, source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*peer, sink.peer().to_string());
    assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
    assert!(u64::from(lines(&arrived)) * 100 <= has && lines(&arrived) < taken);
}

#[test]
fn a_reset_between_two_turns_is_noticed_without_anything_to_send() {
    let (mut sink, peer) = pair(0);
    let mut arrived = Vec::new();
    sink.turn(Duration::ZERO, &mut arrived).unwrap();
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    let error = turn_to_the_end(&mut sink, &mut arrived);
    assert!(matches!(error, RemoteError::Broken { .. }), "{error:?}");
}

#[test]
fn a_peer_that_closes_in_good_order_has_what_it_acknowledged() {
    let (mut sink, mut peer) = pair(0);
    let mut arrived = Vec::new();
    assert!(put(&mut sink, 7, b"last"));
    sink.write().unwrap();
    let mut got = Vec::new();
    let start = Instant::now();
    while got.len() < 5 && start.elapsed() < PATIENCE {
        read(&mut peer, &mut got);
    }
    drop(peer);
    let error = turn_to_the_end(&mut sink, &mut arrived);
    assert!(matches!(error, RemoteError::Closed { .. }), "{error:?}");
    assert_eq!((lines(&arrived), got.as_slice()), (1, b"last\n".as_slice()));
}

#[test]
fn lines_after_the_peer_has_closed_do_not_arrive() {
    let (mut sink, peer) = pair(0);
    drop(peer);
    assert!(put(&mut sink, 1, b"too late"));
    let mut arrived = Vec::new();
    let error = turn_to_the_end(&mut sink, &mut arrived);
    assert!(
        matches!(
            error,
            RemoteError::Closed { .. } | RemoteError::Broken { .. }
        ),
        "{error:?}"
    );
    assert!(arrived.is_empty());
}

#[test]
fn what_the_peer_says_is_thrown_away() {
    let (mut sink, mut peer) = pair(0);
    let mut arrived = Vec::new();
    let mut said = 0;
    let start = Instant::now();
    while said < 1 << 20 {
        assert!(start.elapsed() < PATIENCE);
        said += peer.write(&[b'!'; 4096]).unwrap_or(0);
        sink.turn(Duration::ZERO, &mut arrived).unwrap();
    }
    assert!(put(&mut sink, 1, b"line"));
    turn_until(&mut sink, &mut arrived, |sink, _| sink.is_idle());
}

#[test]
fn a_reader_that_stands_still_for_too_long_breaks_the_connection() {
    let (mut sink, peer) = pair(16 << 10);
    let time = 500;
    sockopt::set_tcp_user_timeout(&sink.stream, time).unwrap();
    let mut arrived = Vec::new();
    fill(&mut sink, &mut arrived, 1000);
    let error = turn_to_the_end(&mut sink, &mut arrived);
    let RemoteError::Broken { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    drop(peer);
}

/// From now on the kernel of the peer forgets every packet, as if the network were broken.
fn fall_silent(peer: &TcpStream) {
    // BPF_RET | BPF_K with 0.
    let drop_all = [socket2::SockFilter::new(0x06, 0, 0, 0)];
    let peer = socket2::SockRef::from(peer);
    peer.attach_filter(&drop_all).unwrap();
}

#[test]
fn a_peer_that_is_gone_without_a_word_breaks_the_connection_and_has_not_what_was_sent() {
    let (mut sink, peer) = pair(0);
    sockopt::set_tcp_user_timeout(&sink.stream, 500).unwrap();
    let mut arrived = Vec::new();
    assert!(put(&mut sink, 1, b"line"));
    turn_until(&mut sink, &mut arrived, |sink, _| sink.is_idle());
    fall_silent(&peer);
    assert!(put(&mut sink, 2, b"into the void"));
    let error = turn_to_the_end(&mut sink, &mut arrived);
    let RemoteError::Broken { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    assert_eq!((arrived.len(), arrived[0].chunk), (1, 1));
}

#[test]
fn a_peer_that_is_gone_without_a_word_is_noticed_without_anything_to_send() {
    let (mut sink, peer) = pair(0);
    // The least that the kernel knows.
    sockopt::set_tcp_keepidle(&sink.stream, Duration::from_secs(1)).unwrap();
    sockopt::set_tcp_keepintvl(&sink.stream, Duration::from_secs(1)).unwrap();
    sockopt::set_tcp_user_timeout(&sink.stream, 1000).unwrap();
    fall_silent(&peer);
    let mut arrived = Vec::new();
    let error = turn_to_the_end(&mut sink, &mut arrived);
    assert!(matches!(error, RemoteError::Broken { .. }), "{error:?}");
}

#[test]
fn the_kernel_watches_the_connection() {
    let (sink, _peer) = pair(0);
    let stream = &sink.stream;
    assert!(sockopt::socket_keepalive(stream).unwrap());
    assert!(sockopt::tcp_nodelay(stream).unwrap());
    assert_eq!(
        sockopt::tcp_keepidle(stream).unwrap(),
        limits::TCP_KEEPALIVE_IDLE
    );
    assert_eq!(
        sockopt::tcp_user_timeout(stream).unwrap(),
        limits::TCP_USER_TIMEOUT.as_millis() as u32
    );
    assert_eq!(
        sockopt::socket_send_buffer_size(stream).unwrap(),
        2 * limits::TCP_KERNEL_BYTES
    );
}

#[test]
fn a_connection_that_is_given_up_sends_nothing_more() {
    let (mut sink, mut peer) = pair(16 << 10);
    let mut arrived = Vec::new();
    fill(&mut sink, &mut arrived, 100);
    assert!(!sink.is_idle());
    drop(sink);
    let mut got = Vec::new();
    peer.set_nonblocking(false).unwrap();
    let end = peer.read_to_end(&mut got).unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_without_lines_under_way_ends_in_good_order() {
    let (mut sink, mut peer) = pair(0);
    let mut arrived = Vec::new();
    assert!(put(&mut sink, 0, b"line"));
    turn_until(&mut sink, &mut arrived, |sink, _| sink.is_idle());
    drop(sink);
    let mut got = Vec::new();
    peer.set_nonblocking(false).unwrap();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"line\n");
}

#[test]
fn a_turn_ends_as_soon_as_a_line_of_a_known_chunk_has_arrived() {
    let (mut sink, _peer) = pair(0);
    let mut arrived = Vec::new();
    let start = Instant::now();
    for _ in 0..10 {
        assert!(put(&mut sink, 1, b"line"));
        while !sink.is_idle() {
            sink.turn(PATIENCE, &mut arrived).unwrap();
        }
    }
    assert!(start.elapsed() < PATIENCE);
    assert_eq!((arrived.len(), lines(&arrived)), (1, 10));
}

#[test]
fn a_turn_without_news_lasts_as_long_as_it_was_told() {
    let (mut sink, _peer) = pair(0);
    let start = Instant::now();
    sink.turn(SHORT, &mut Vec::new()).unwrap();
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn every_address_of_a_name_is_tried() {
    // Where localhost has two addresses, nobody listens on one of them.
    let listener = listener(0);
    let port = listener.local_addr().unwrap().port();
    let sink = TcpSink::connect(
        &CachingResolver::default(),
        &format!("localhost:{port}"),
        &Legacy::default(),
    );
    assert_eq!(sink.unwrap().peer(), listener.local_addr().unwrap());
}

#[test]
fn nobody_there_is_said_with_the_address() {
    let port = listener(0).local_addr().unwrap().port();
    let address = format!("localhost:{port}");
    let error =
        TcpSink::connect(&CachingResolver::default(), &address, &Legacy::default()).unwrap_err();
    let RemoteError::Unreachable { last, source, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(last.ends_with(&format!(":{port}")), "{last}");
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains(&address), "{error}");
    let error = TcpSink::connect(
        &CachingResolver::default(),
        "no spaces:1",
        &Legacy::default(),
    )
    .unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
}

#[test]
fn without_netlink_lines_arrive_too() {
    let (mut sink, mut peer) = pair(16 << 10);
    sink.unacknowledged.forbid_netlink();
    let mut arrived = Vec::new();
    let taken = fill(&mut sink, &mut arrived, 100);
    let mut got = Vec::new();
    turn_until(&mut sink, &mut arrived, |sink, _| {
        read(&mut peer, &mut got);
        sink.is_idle()
    });
    assert_eq!(lines(&arrived), taken);
}

/// Random lines, chunks and reads: what is said to have arrived is with the peer, all of it in order, nothing more.
#[test]
fn nothing_is_said_to_have_arrived_before_the_peer_has_it() {
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let (mut sink, mut peer) = pair(16 << 10);
    let (mut arrived, mut want, mut got) = (Vec::new(), Vec::new(), Vec::new());
    // Where each line ends, and the lines of each chunk.
    let (mut ends, mut chunks): (Vec<usize>, BTreeMap<u64, u32>) = Default::default();
    let mut chunk = 0;
    for step in 0..20_000 {
        match random(4) {
            0 | 1 => {
                chunk += u64::from(random(5) == 0);
                let length = [10, 100, 1000, 20_000][random(4) as usize];
                let line: Vec<u8> = (0..random(length)).map(|n| (n + step) as u8).collect();
                if put(&mut sink, chunk, &line) {
                    want.extend_from_slice(&line);
                    want.push(b'\n');
                    ends.push(want.len());
                    *chunks.entry(chunk).or_default() += 1;
                }
            }
            2 => sink.turn(Duration::ZERO, &mut arrived).unwrap(),
            _ => {
                let mut block = vec![0; 1 + random(30_000) as usize];
                if let Ok(count) = peer.read(&mut block) {
                    got.extend_from_slice(&block[..count]);
                }
            }
        }
        if let Some(last) = (lines(&arrived) as usize).checked_sub(1) {
            let has = got.len() + ioctl_fionread(&peer).unwrap() as usize;
            assert!(ends[last] <= has, "line {last} of {has} bytes");
        }
    }
    turn_until(&mut sink, &mut arrived, |sink, _| {
        read(&mut peer, &mut got);
        sink.is_idle()
    });
    read(&mut peer, &mut got);
    assert!(got == want);
    let mut sums: BTreeMap<u64, u32> = BTreeMap::new();
    for one in &arrived {
        *sums.entry(one.chunk).or_default() += one.lines;
    }
    assert_eq!(sums, chunks);
}
