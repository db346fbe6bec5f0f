//! What one read of a connection means: operations are applied to the broker, messages on LOG, EVENT, CONFIG and TEST are
//! gathered for the data path, and PINGs and acknowledgements wait until what came before them is stored (DESIGN 3).

mod feed;
mod publisher;
mod stream;

pub use feed::{ControlFeed, Fed, Feed};
pub use publisher::Publisher;
use publisher::WaitingPong;
use stream::Stream;

use bytes::Bytes;

use super::broker::Published;
use super::parser::{Op, ParseLimits, Publish, Step, announces_headers, next_op};
use super::{Broker, ClientId, CloseReason};
use crate::limits::PONGS_WAITING;
use crate::tap::{Batch, Control, Outcome, Span};

/// The subjects that CIM itself takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tap {
    Log,
    Event,
    Control(Control),
}

impl Tap {
    #[inline]
    fn of(subject: &[u8]) -> Option<Self> {
        match subject {
            b"LOG" => Some(Self::Log),
            b"EVENT" => Some(Self::Event),
            b"CONFIG" => Some(Self::Control(Control::Config)),
            b"TEST" => Some(Self::Control(Control::Test)),
            _ => None,
        }
    }

    fn way(self) -> Way {
        match self {
            Self::Log => Way::Log,
            Self::Event => Way::Event,
            Self::Control(_) => Way::Control,
        }
    }
}

/// The ways into the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// LOG.
    Log,
    /// EVENT.
    Event,
    /// CONFIG and TEST: not held up by a journal that is full.
    Control,
    /// Into the server: the client's credentials are being looked at.
    Login,
}

/// Which ways into the data path have room for one more batch.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// LOG.
    pub log: bool,
    /// EVENT.
    pub event: bool,
    /// CONFIG and TEST.
    pub control: bool,
}

impl Room {
    /// There is room on `way`.
    pub fn on(self, way: Way) -> bool {
        match way {
            Way::Log => self.log,
            Way::Event => self.event,
            Way::Control => self.control,
            // Not for want of room: whoever looks at them says when.
            Way::Login => false,
        }
    }

    /// There is room on every way.
    pub fn everywhere(self) -> bool {
        self.log && self.event && self.control
    }
}

/// How far the data path is: numbers of batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// LOG.
    pub log: u64,
    /// EVENT.
    pub event: u64,
    /// CONFIG and TEST: handled.
    pub control: u64,
}

impl Stored {
    /// All that `wanted` asks for is stored.
    pub fn covers(self, wanted: Self) -> bool {
        self.log >= wanted.log && self.event >= wanted.event && self.control >= wanted.control
    }
}

/// The LOG or EVENT messages of one read; see [`crate::tap::Batch`].
#[derive(Debug)]
pub struct Plan {
    /// Number of the batch.
    pub seq: u64,
    /// Where the FlatBuffers lie in the read buffer.
    pub spans: Vec<Span>,
    /// Somebody waits for them.
    pub flush: bool,
    /// See [`crate::tap::Batch::ack`].
    pub ack: Option<Outcome>,
    /// See [`crate::tap::Batch::acks`].
    pub acks: Vec<(u32, Outcome)>,
}

impl Plan {
    fn new(seq: u64, messages: usize, flush: bool) -> Self {
        Self {
            seq,
            spans: Vec::with_capacity(messages),
            flush,
            ack: None,
            acks: Vec::new(),
        }
    }

    /// With the buffer that it is about.
    pub fn into_batch(self, buffer: Bytes) -> Batch {
        Batch {
            seq: self.seq,
            buffer,
            spans: self.spans,
            flush: self.flush,
            ack: self.ack,
            acks: self.acks,
        }
    }
}

/// The CONFIG and TEST messages of one read.
#[derive(Debug)]
pub struct ControlPlan {
    /// Number of the batch.
    pub seq: u64,
    /// The messages.
    pub messages: Vec<(Control, Span)>,
}

/// What became of a buffer.
#[derive(Debug, Default)]
pub struct Taken {
    /// Bytes at its start that are done with.
    pub used: usize,
    /// Bytes that the operation after them needs in all, as far as known.
    pub needed: usize,
    /// The next operation is whole, but this way, which it takes, has no room: come back later.
    pub held: Option<Way>,
    /// For the data path.
    pub log: Option<Plan>,
    /// For the data path.
    pub events: Option<Plan>,
    /// For the data path.
    pub control: Option<ControlPlan>,
    /// The client waits for an answer: do not let it wait for more input.
    pub interactive: bool,
    /// Much waits for this client, which gets what was published.
    pub crowded: Option<ClientId>,
}

/// Numbers the batches and keeps the acknowledgements that wait.
#[derive(Debug)]
pub struct Intake {
    limits: ParseLimits,
    log: Stream,
    events: Stream,
    /// Number of the last batch of CONFIG and TEST.
    control_seq: u64,
    spans_hint: usize,
}

impl Intake {
    /// Nothing taken yet.
    pub fn new(limits: ParseLimits) -> Self {
        Self {
            limits,
            log: Stream::default(),
            events: Stream::default(),
            control_seq: 0,
            spans_hint: 0,
        }
    }

    /// Numbers of the last batches.
    pub fn last(&self) -> Stored {
        Stored {
            log: self.log.seq,
            event: self.events.seq,
            control: self.control_seq,
        }
    }

    /// A message of `len` bytes on TEST, from CIM to itself.
    pub fn test(&mut self, len: u32) -> ControlPlan {
        self.control_seq += 1;
        ControlPlan {
            seq: self.control_seq,
            messages: vec![(Control::Test, Span { start: 0, len })],
        }
    }

    /// Ways that have a place for one more acknowledgement.
    pub fn ack_room(&self) -> Room {
        Room {
            log: self.log.has_ack_place(),
            event: self.events.has_ack_place(),
            control: true,
        }
    }

    /// Acknowledgements wait.
    pub fn is_waiting(&self) -> bool {
        self.log.is_waiting() || self.events.is_waiting()
    }

    /// Publishes the acknowledgements of what is stored.
    pub fn settle(&mut self, stored: Stored, broker: &mut Broker) {
        let mut publish = |reply: &[u8], text: &[u8]| drop(broker.publish_own(reply, text));
        self.log.settle("LOG", stored.log, &mut publish);
        self.events.settle("EVENT", stored.event, &mut publish);
    }

    /// Applies the operations in `buf`. `stored` is how far the data path was at the start of the turn; `flush` is called
    /// when clients have so much waiting that they should be sent to before more is routed.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only name them twice"
    )]
    pub fn take(
        &mut self,
        broker: &mut Broker,
        id: ClientId,
        publisher: &mut Publisher,
        buf: &[u8],
        room: Room,
        stored: Stored,
        flush: &mut dyn FnMut(&mut Broker),
    ) -> Taken {
        broker.take_crowded();
        let mut turn = Turn {
            intake: self,
            broker,
            id,
            publisher,
            room,
            stored,
            flush,
            log: None,
            events: None,
            control: None,
            interactive: false,
        };
        let mut used = 0;
        let mut needed = 0;
        let mut held = None;
        loop {
            match next_op(buf.get(used..).unwrap_or_default(), &turn.intake.limits) {
                Ok(Step::More(_)) | Err(_) if turn.is_refused(buf.get(used)) => {
                    used = buf.len();
                    break;
                }
                Ok(Step::More(_)) | Err(_) if turn.is_checking() => {
                    // Its end, too: it is to hear what became of them.
                    held = Some(Way::Login);
                    break;
                }
                Ok(Step::More(_)) | Err(_)
                    if turn.is_without_headers(buf.get(used..).unwrap_or_default()) =>
                {
                    used = buf.len();
                    break;
                }
                Ok(Step::More(more)) => {
                    needed = more;
                    break;
                }
                Ok(Step::Op(op, len)) => match turn.apply(&op, used) {
                    Next::Go => used += len,
                    Next::Hold(way) => {
                        held = Some(way);
                        break;
                    }
                    Next::Close => {
                        used = buf.len();
                        break;
                    }
                },
                Err(error) => {
                    log::warn!("NATS client {id} sent {error}");
                    turn.broker
                        .close_with(id, error.reason(), error.error_text());
                    used = buf.len();
                    break;
                }
            }
        }
        let Turn {
            log,
            events,
            control,
            interactive,
            ..
        } = turn;
        let crowded = broker.take_crowded();
        if let Some(plan) = &log {
            self.spans_hint = plan.spans.len();
        }
        Taken {
            used,
            needed,
            held,
            log,
            events,
            control,
            interactive,
            crowded,
        }
    }
}

impl Intake {
    /// Takes the PINGs that came early as if they came now: the connection has nothing more to read.
    pub fn late_pings(
        &mut self,
        broker: &mut Broker,
        id: ClientId,
        publisher: &mut Publisher,
        room: Room,
        stored: Stored,
    ) -> Taken {
        let pings = std::mem::take(&mut publisher.early_pings);
        let flush = &mut |_: &mut Broker| {};
        let mut turn = Turn {
            intake: self,
            broker,
            id,
            publisher,
            room,
            stored,
            flush,
            log: None,
            events: None,
            control: None,
            interactive: false,
        };
        for _ in 0..pings {
            turn.ping();
        }
        Taken {
            log: turn.log,
            ..Taken::default()
        }
    }
}

enum Next {
    /// Done; the next one.
    Go,
    /// Not done: no room.
    Hold(Way),
    /// The connection ends.
    Close,
}

/// The work on one buffer.
struct Turn<'a> {
    intake: &'a mut Intake,
    broker: &'a mut Broker,
    id: ClientId,
    publisher: &'a mut Publisher,
    room: Room,
    stored: Stored,
    flush: &'a mut dyn FnMut(&mut Broker),
    log: Option<Plan>,
    events: Option<Plan>,
    control: Option<ControlPlan>,
    interactive: bool,
}

impl Turn<'_> {
    /// Whoever has not authenticated is refused at the first byte that is no CONNECT's, as in nats-server.
    fn is_refused(&mut self, first: Option<&u8>) -> bool {
        let refused = first.is_some_and(|first| !first.eq_ignore_ascii_case(&b'C'))
            && !self
                .broker
                .client(self.id)
                .is_some_and(|client| client.authorised || client.checking)
            && !self.broker.admit(self.id);
        if refused {
            self.broker
                .close(self.id, CloseReason::AuthenticationFailure);
        }
        refused
    }

    /// Its credentials are being looked at: what it says behind them has to wait, right or wrong.
    #[inline]
    fn is_checking(&self) -> bool {
        let client = self.broker.client(self.id);
        client.is_some_and(|client| client.checking)
    }

    /// Whoever publishes with headers and did not say that it would is refused at the line, as in nats-server.
    fn is_without_headers(&mut self, rest: &[u8]) -> bool {
        let client = self.broker.client(self.id);
        let refused = client.is_some_and(|client| !client.connect.headers)
            && announces_headers(rest, &self.intake.limits);
        if refused {
            let reason = CloseReason::ProtocolViolation;
            self.broker.close_with(self.id, reason, None);
        }
        refused
    }

    #[inline]
    fn apply(&mut self, op: &Op<'_>, at: usize) -> Next {
        if self.is_checking() {
            return Next::Hold(Way::Login);
        }
        if let Op::Publish(message) = op
            && let Some(tap) = Tap::of(message.subject)
        {
            return self.tap(tap, message, at);
        }
        if !matches!(op, Op::Connect(_))
            && !self
                .broker
                .client(self.id)
                .is_some_and(|client| client.authorised)
            && !self.broker.admit(self.id)
        {
            self.broker
                .close(self.id, CloseReason::AuthenticationFailure);
            return Next::Close;
        }
        match op {
            Op::Publish(message) => {
                self.interactive = true;
                self.broker.publish(self.id, message, false);
            }
            Op::Ping if self.pings_early() => {
                self.publisher.early_pings = self.publisher.early_pings.saturating_add(1);
            }
            Op::Ping => self.ping(),
            Op::Pong => self.publisher.ponged(self.broker.now()),
            op => {
                self.interactive = true;
                self.broker.apply(self.id, op);
            }
        }
        self.flush_full();
        if self.broker.is_closing(self.id) {
            Next::Close
        } else {
            Next::Go
        }
    }

    fn flush_full(&mut self) {
        if self.broker.wants_flush() {
            (self.flush)(self.broker);
        }
    }

    #[inline]
    fn tap(&mut self, tap: Tap, message: &Publish<'_>, at: usize) -> Next {
        let wants_ack = !message.reply.is_empty();
        let way = tap.way();
        let has_ack_place = match tap {
            Tap::Log => self.intake.log.has_ack_place(),
            Tap::Event => self.intake.events.has_ack_place(),
            Tap::Control(_) => true,
        };
        if !self.room.on(way) || (wants_ack && !has_ack_place) {
            return Next::Hold(way);
        }
        if !self
            .broker
            .client(self.id)
            .is_some_and(|client| client.authorised)
            && !self.broker.admit(self.id)
        {
            self.broker
                .close(self.id, CloseReason::AuthenticationFailure);
            return Next::Close;
        }
        match self.broker.publish(self.id, message, true) {
            Published::Routed => {}
            Published::Refused => {
                self.interactive = true;
                return Next::Go;
            }
            Published::Closing => return Next::Close,
        }
        let headers = message.header_len.unwrap_or(0);
        let span = Span {
            start: (at + message.body_start + headers) as u32,
            len: (message.body.len() - headers) as u32,
        };
        match tap {
            Tap::Log => {
                let intake = &mut *self.intake;
                let hint = intake.spans_hint;
                let plan = &mut self.log;
                self.publisher.last.log = add(
                    &mut intake.log,
                    plan,
                    hint,
                    span,
                    message.reply,
                    &mut self.interactive,
                );
                self.publisher.publishes_log = true;
            }
            Tap::Event => {
                let plan = &mut self.events;
                let stream = &mut self.intake.events;
                self.publisher.last.event =
                    add(stream, plan, 0, span, message.reply, &mut self.interactive);
                self.publisher.publishes_events = true;
            }
            Tap::Control(subject) => self.tap_control(subject, span),
        }
        self.flush_full();
        Next::Go
    }

    fn tap_control(&mut self, subject: Control, span: Span) {
        let seq = &mut self.intake.control_seq;
        let plan = self.control.get_or_insert_with(|| {
            *seq += 1;
            ControlPlan {
                seq: *seq,
                messages: Vec::new(),
            }
        });
        self.publisher.last.control = plan.seq;
        self.publisher.publishes_control = true;
        plan.messages.push((subject, span));
    }

    /// nats.py writes the PING of `flush()` to its socket, and what it had published before only after it. What comes
    /// right behind such a PING was meant to be before it.
    fn pings_early(&self) -> bool {
        let lang = self
            .broker
            .client(self.id)
            .and_then(|client| client.connect.lang.as_deref());
        lang == Some("python3")
    }

    fn ping(&mut self) {
        self.interactive = true;
        let behind = self.publisher.last;
        if self.stored.covers(behind) && !self.publisher.is_waiting() {
            return self.broker.pong(self.id);
        }
        if behind.log > self.stored.log {
            match &mut self.log {
                Some(plan) => plan.flush = true,
                // Asks the writers behind to hurry; without room they are busy writing anyway.
                None if self.room.log => {
                    self.intake.log.seq += 1;
                    let seq = self.intake.log.seq;
                    self.log = Some(Plan::new(seq, 0, true));
                }
                None => {}
            }
        }
        let is_full = self.publisher.pongs.len() >= PONGS_WAITING;
        match self.publisher.pongs.back_mut() {
            Some(last) if is_full || last.behind == behind => {
                last.behind = behind;
                last.count = last.count.saturating_add(1)
            }
            _ => self
                .publisher
                .pongs
                .push_back(WaitingPong { behind, count: 1 }),
        }
    }
}

/// Adds a message to the plan of its stream, which is made when it is the first; returns the number of the plan's batch. The plan may be
/// there already without a message of this connection: as the marker of a PING before.
#[inline]
fn add(
    stream: &mut Stream,
    plan: &mut Option<Plan>,
    hint: usize,
    span: Span,
    reply: &[u8],
    interactive: &mut bool,
) -> u64 {
    stream.messages += 1;
    let plan = plan.get_or_insert_with(|| {
        stream.seq += 1;
        Plan::new(stream.seq, hint, false)
    });
    if !reply.is_empty() {
        let message = Outcome::default();
        let batch = plan.ack.get_or_insert_default().clone();
        plan.acks.push((plan.spans.len() as u32, message.clone()));
        plan.flush = true;
        *interactive = true;
        stream.acknowledge(batch, message, reply);
    }
    plan.spans.push(span);
    plan.seq
}

#[cfg(test)]
mod tests;
