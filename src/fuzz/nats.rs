//! The NATS stream of a client: parser, intake and broker; and that of an external server.

use crate::nats::auth::Auth;
use crate::nats::external::ops;
use crate::nats::info::Info;
use crate::nats::intake::{Intake, Plan, Publisher, Room, Stored, Taken};
use crate::nats::parser::{ParseLimits, Step, next_op};
use crate::nats::{Broker, ClientId, Limits};
use crate::tap::Control;

/// Small, so that a fuzzer reaches them.
const PARSE: ParseLimits = ParseLimits {
    control_line_bytes: 64,
    payload_bytes: 96,
};
/// Bytes of a stream. With it the 4,096 acknowledgements that may wait are never reached: when a message is held for
/// want of room depends on time, and here nothing may.
const STREAM_BYTES: usize = 16 << 10;
const ROOM: Room = Room {
    log: true,
    event: true,
    control: true,
};
/// Everything is stored, at any time.
const ALL: Stored = Stored {
    log: u64::MAX,
    event: u64::MAX,
    control: u64::MAX,
};

/// What a stream has led to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Effect {
    /// Payloads on LOG, and whether each wants an acknowledgement.
    log: Vec<(Vec<u8>, bool)>,
    /// The same on EVENT.
    events: Vec<(Vec<u8>, bool)>,
    /// Messages on CONFIG and TEST.
    control: Vec<(&'static str, Vec<u8>)>,
    /// What the client, and a listener to all subjects, were sent.
    client: Vec<u8>,
    listener: Vec<u8>,
    /// Who is closed and why.
    closed: Vec<(ClientId, &'static str)>,
    /// What is left of the input: the start of an operation.
    rest: Vec<u8>,
    subscriptions: usize,
}

/// Any bytes of an external server: an operation lies within them, and what is read of the whole is read of any beginning of it that holds
/// the operation; a shorter one is waited for, or refused.
pub fn nats_server_stream(data: &[u8]) {
    let mut rest = data.get(..STREAM_BYTES).unwrap_or(data);
    while let Ok(ops::Step::Op(op, len)) = ops::next(rest) {
        let (head, behind) = rest.split_at_checked(len).expect("within the bytes");
        assert!(len > 0);
        assert_eq!(ops::next(head), Ok(ops::Step::Op(op, len)));
        let cut = head.split_last().map_or(head, |(_, before)| before);
        assert_eq!(ops::next(cut), Ok(ops::Step::More), "{op:?}");
        rest = behind;
    }
}

/// Any bytes of a client, cut anywhere: nothing panics, every range lies in its buffer, and the effect does not depend
/// on the cut.
///
/// The first byte of the input says how far apart the cuts are, and in its highest bit whether the data path stores
/// everything at once or only at the end. The rest is the stream.
pub fn nats_stream(data: &[u8]) {
    let Some((&how, stream)) = data.split_first() else {
        return;
    };
    let stream = stream.get(..STREAM_BYTES).unwrap_or(stream);
    let step = usize::from(how & 0x7f) + 1;
    let stored = if how & 0x80 == 0 {
        Stored::default()
    } else {
        ALL
    };
    let whole = run(stream, STREAM_BYTES, stored);
    let cut = run(stream, step, stored);
    assert_eq!(whole, cut, "cut every {step} bytes");
}

/// Feeds `stream` in pieces of `step` bytes.
fn run(stream: &[u8], step: usize, stored: Stored) -> Effect {
    let mut broker = Broker::new(
        Limits::default(),
        info(),
        Auth::Open,
        1,
        std::time::Instant::now(),
    );
    let mut intake = Intake::new(PARSE);
    let (id, listener) = (broker.add(""), broker.add(""));
    let mut publisher = Publisher::default();
    let mut effect = Effect::default();
    // Whatever is sent is kept at once when it is much, as a socket that takes everything would.
    let mut take =
        |broker: &mut Broker, id, publisher: &mut Publisher, input: &[u8], effect: &mut Effect| {
            intake.take(broker, id, publisher, input, ROOM, stored, &mut |broker| {
                broker.take_full();
                for (id, sent) in [(id, &mut effect.client), (listener, &mut effect.listener)] {
                    drain(broker, id, sent);
                }
            })
        };
    let hello = b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB > 1\r\n";
    take(
        &mut broker,
        listener,
        &mut Publisher::default(),
        hello,
        &mut effect,
    );
    let mut input = Vec::new();
    let mut last = Stored::default();
    for piece in stream.chunks(step) {
        input.extend_from_slice(piece);
        check_more(&input);
        let taken = take(&mut broker, id, &mut publisher, &input, &mut effect);
        assert!(taken.held.is_none() && taken.used <= input.len());
        note(&taken, &input, &mut last, &mut effect);
        input.drain(..taken.used);
        if broker.is_closing(id) {
            break;
        }
    }
    for _ in 0..publisher.settle(ALL) {
        broker.pong(id);
    }
    assert!(!publisher.is_waiting());
    intake.settle(ALL, &mut broker);
    assert!(!intake.is_waiting());
    drain(&mut broker, id, &mut effect.client);
    drain(&mut broker, listener, &mut effect.listener);
    effect.subscriptions = broker.subscription_count();
    for (id, reason) in broker.take_closing() {
        effect.closed.push((id, reason.as_str()));
        broker.remove(id);
    }
    effect.rest = input;
    effect
}

/// Notes what was handed to the data path.
fn note(taken: &Taken, input: &[u8], last: &mut Stored, effect: &mut Effect) {
    let within = |start: u32, len: u32| {
        let end = start as usize + len as usize;
        assert!(end <= taken.used, "a range beyond what is done with");
    };
    let stored = |plan: &Option<Plan>, last: &mut u64, payloads: &mut Vec<(Vec<u8>, bool)>| {
        let Some(plan) = plan else {
            return;
        };
        assert_eq!(plan.seq, *last + 1);
        *last = plan.seq;
        let mut acks = plan.acks.iter().map(|(at, _)| *at).peekable();
        for (at, span) in (0u32..).zip(&plan.spans) {
            within(span.start, span.len);
            let payload = span.of(input).to_vec();
            payloads.push((payload, acks.next_if_eq(&at).is_some()));
        }
        assert_eq!(acks.next(), None, "an acknowledgement of no message");
    };
    stored(&taken.log, &mut last.log, &mut effect.log);
    stored(&taken.events, &mut last.event, &mut effect.events);
    if let Some(plan) = &taken.control {
        assert_eq!(plan.seq, last.control + 1);
        last.control = plan.seq;
        for (subject, span) in &plan.messages {
            within(span.start, span.len);
            let subject = match subject {
                Control::Config => "CONFIG",
                Control::Test => "TEST",
            };
            effect.control.push((subject, span.of(input).to_vec()));
        }
    }
}

/// "More bytes" must name more than there are, and no operation may end before them.
fn check_more(input: &[u8]) {
    let Ok(Step::Op(_, len)) = next_op(input, &PARSE) else {
        if let Ok(Step::More(more)) = next_op(input, &PARSE) {
            assert!(more > input.len());
        }
        return;
    };
    assert!(len <= input.len());
    for short in [len - 1, len / 2] {
        let Ok(Step::More(more)) = next_op(input.get(..short).unwrap_or_default(), &PARSE) else {
            panic!("an operation of {len} bytes is no start of one when cut to {short}");
        };
        assert!(short < more && more <= len, "{more} of {len} bytes wanted");
    }
}

fn drain(broker: &mut Broker, id: ClientId, sent: &mut Vec<u8>) {
    while let Some(out) = broker.outbound(id).filter(|out| !out.is_empty()) {
        let front = out.front().to_vec();
        broker.sent(id, front.len());
        sent.extend_from_slice(&front);
    }
}

fn info() -> Info {
    Info::new(
        String::new(),
        String::new(),
        std::net::SocketAddr::from(([127, 0, 0, 1], 4222)),
        PARSE.payload_bytes,
    )
}
