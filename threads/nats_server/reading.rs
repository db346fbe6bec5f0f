//! Reading: one read of a connection, what it means, what is kept of it, and when the next one comes.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::limits::{
    ALL_PARTIAL_BYTES, CONTROL_LINE_BYTES, CROWDED_TIME, LOG_BYTES, READ_BLOCK_BYTES,
};
use crate::nats::intake::{Room, Stored, Taken, Way};
use crate::nats::{Broker, ClientId, CloseReason};
use crate::tap::ControlBatch;

use super::connection::{Connection, Turn};
use super::transport::Read;
use super::{Loop, Phase, Senders};

/// Bytes that a connection may read while a way into the data path has no room: enough for control traffic, little to keep.
const CONGESTED_READ_BYTES: usize = 4 * CONTROL_LINE_BYTES;
/// Two reads closer together than this make a stream.
const STREAM_GAP: Duration = Duration::from_millis(10);

impl Loop {
    /// A way on which no acknowledgement has a place counts as full: who is held for one must not be tried again and again.
    pub(super) fn room(&self) -> Room {
        let acks = self.intake.ack_room();
        match &self.senders {
            Some(Senders {
                log,
                events,
                control,
            }) => Room {
                log: acks.log && !log.is_full() && self.blocks.away_bytes() < LOG_BYTES,
                event: acks.event && !events.is_full(),
                control: !control.is_full(),
            },
            None => Room {
                log: false,
                event: false,
                control: false,
            },
        }
    }

    pub(super) fn stored(&self) -> Stored {
        Stored {
            log: self.log_progress.stored(),
            event: self.event_progress.stored(),
            control: self.control_progress.stored(),
        }
    }

    /// One read of a connection, and what it brings.
    pub(super) fn read(&mut self, id: ClientId) {
        if matches!(self.phase, Phase::Storing(_) | Phase::Ended) {
            return;
        }
        if !self.is_settled(id) {
            return;
        }
        let room = self.room();
        let block = self.block.take().unwrap_or_else(|| self.blocks.take());
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            self.block = Some(block);
            return;
        };
        if let Some(way) = connection.publisher.must_wait(room) {
            self.block = Some(block);
            return self.hold(id, way);
        }
        let mut buffer = block;
        let extra = connection.read_extra();
        let before = connection.input.capacity();
        let input = std::mem::take(&mut connection.input);
        if connection.needed > READ_BLOCK_BYTES || input.len() > READ_BLOCK_BYTES / 2 {
            // A large message is read in place; it grows as its bytes arrive, not as they are announced.
            self.block = Some(std::mem::replace(&mut buffer, input));
            let target = connection
                .needed
                .min((2 * buffer.len()).max(READ_BLOCK_BYTES))
                .max(buffer.len() + CONTROL_LINE_BYTES + extra);
            buffer.reserve_exact(target - buffer.len());
        } else if room.everywhere() {
            buffer.extend_from_slice(&input);
        } else {
            self.block = Some(std::mem::replace(
                &mut buffer,
                Vec::with_capacity(input.len() + CONGESTED_READ_BYTES + extra),
            ));
            buffer.extend_from_slice(&input);
        }
        self.partial_bytes -= before;
        let cipher = match &mut self.handshakes {
            Some(handshakes) => &mut handshakes.cipher[..],
            None => &mut [],
        };
        let read = connection.read(cipher, &mut buffer);
        let is_stream = self.now.duration_since(connection.last_in) < STREAM_GAP;
        match read {
            Read::Some { more } => {
                connection.last_in = self.now;
                let taken = self.process(id, buffer, room);
                self.next_turn(id, more, is_stream, &taken);
            }
            Read::Drained => {
                self.keep_or_recycle(id, buffer, 0);
                self.poll_again(id);
            }
            Read::End => {
                connection.partial_since = None;
                connection.turn = Turn::Ended;
                // As nats-server does, PINGs are answered first.
                if !connection.publisher.is_waiting() {
                    self.broker.close(id, CloseReason::ClientClosed);
                }
                self.recycle(buffer);
            }
            Read::Failed(error) => {
                self.recycle(buffer);
                self.broken(id, &error, CloseReason::ReadError);
            }
        }
    }

    /// Applies what is in `buffer`, hands its messages to the data path and keeps the rest.
    pub(super) fn process(&mut self, id: ClientId, buffer: Vec<u8>, room: Room) -> Taken {
        let stored = self.stored();
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return Taken::default();
        };
        let mut publisher = std::mem::take(&mut connection.publisher);
        let (was_waiting, early) = (publisher.is_waiting(), publisher.early_pings);
        let (connections, writer, now) = (&mut self.connections, &mut self.writer, self.now);
        let mut flush = |broker: &mut Broker| {
            for full in broker.take_full() {
                // Whose socket takes no more is tried again at the end of the round, not with each message.
                let is_blocked = |connection: &Connection| connection.blocked_since.is_some();
                let connection = connections.get(full).and_then(Option::as_ref);
                if !connection.is_some_and(is_blocked) {
                    // A failure comes again, and is dealt with, at the end of the round.
                    let _ = writer.flush(connections, full, broker, now);
                }
            }
        };
        let mut taken = self.intake.take(
            &mut self.broker,
            id,
            &mut publisher,
            &buffer,
            room,
            stored,
            &mut flush,
        );
        if !was_waiting && publisher.is_waiting() {
            self.pinging.push(id);
        }
        if let Some(connection) = self.connection(id) {
            connection.publisher = publisher;
            connection.needed = taken.needed;
            if taken.held.is_some() {
                // What it keeps from here on is not its fault: see `keep`.
                connection.turn = Turn::Held;
            }
        }
        if early == 0
            && self
                .connection(id)
                .is_some_and(|connection| connection.publisher.early_pings > 0)
        {
            self.early.push((id, self.now));
        }
        if taken.log.is_none() && taken.events.is_none() && taken.control.is_none() {
            self.keep_or_recycle(id, buffer, taken.used);
        } else {
            self.keep(
                id,
                buffer.get(taken.used..).unwrap_or_default().to_vec(),
                taken.used > 0,
            );
            let (shared, rest) = self.blocks.share(buffer, taken.used);
            if let Some(rest) = rest {
                self.recycle(rest);
            }
            self.hand_over(&mut taken, shared);
        }
        taken
    }

    /// Sends what was gathered to the data path. There was room, and only this thread sends: a failure means that the
    /// receiver has died, and the daemon ends.
    pub(super) fn hand_over(&self, taken: &mut Taken, shared: Bytes) {
        let Some(senders) = &self.senders else {
            return;
        };
        if let Some(plan) = taken.log.take() {
            let _ = senders.log.try_send(plan.into_batch(shared.clone()));
        }
        if let Some(plan) = taken.events.take() {
            let _ = senders.events.try_send(plan.into_batch(shared.clone()));
        }
        if let Some(plan) = taken.control.take() {
            let _ = senders.control.try_send(ControlBatch {
                seq: plan.seq,
                buffer: shared,
                messages: plan.messages,
            });
        }
    }

    /// Keeps what is behind `used` for the next turn, and the block for the next read.
    pub(super) fn keep_or_recycle(&mut self, id: ClientId, buffer: Vec<u8>, used: usize) {
        if used == 0 && buffer.capacity() > READ_BLOCK_BYTES {
            // A large message that grows in place.
            return self.keep(id, buffer, false);
        }
        self.keep(
            id,
            buffer.get(used..).unwrap_or_default().to_vec(),
            used > 0,
        );
        self.recycle(buffer);
    }

    pub(super) fn keep(&mut self, id: ClientId, rest: Vec<u8>, progressed: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id).and_then(Option::as_mut) else {
            return;
        };
        if rest.is_empty() {
            connection.partial_since = None;
            return;
        }
        connection.input = rest;
        if progressed || connection.partial_since.is_none() {
            connection.partial_since = Some(now);
        }
        self.partial_bytes += connection.input.capacity();
        if self.partial_bytes > ALL_PARTIAL_BYTES {
            let longest = self
                .connections
                .iter()
                .enumerate()
                .filter_map(|(id, connection)| {
                    let connection = connection
                        .as_ref()
                        .filter(|c| c.turn != Turn::Held && !self.broker.is_closing(id))?;
                    connection.partial_since.map(|since| (since, id))
                });
            if let Some((_, id)) = longest.min() {
                self.broker.close(id, CloseReason::PartialMessages);
            }
        }
    }

    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.block.is_none() && buffer.capacity() == READ_BLOCK_BYTES {
            let mut buffer = buffer;
            buffer.clear();
            self.block = Some(buffer);
        } else {
            self.blocks.give_back(buffer);
        }
    }

    /// Decides when the connection is read again.
    pub(super) fn next_turn(&mut self, id: ClientId, more: bool, is_stream: bool, taken: &Taken) {
        if let Some(way) = taken.held {
            return self.hold(id, way);
        }
        if let Some(crowded) = taken.crowded
            && self.phase == Phase::Serving
            && !self.broker.is_closing(crowded)
            && let Some(connection) = self.connection(id)
        {
            connection.turn = Turn::Stalled;
            return self.stalled.push((id, crowded, self.now));
        }
        let coalesce = self.limits.read_coalesce;
        let nothing_waits = self.broker.outbound(id).is_none_or(|out| out.is_empty());
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        if more || connection.ended {
            self.ready.push(id);
        } else if is_stream
            && !taken.interactive
            && nothing_waits
            && !coalesce.is_zero()
            && self.phase == Phase::Serving
        {
            connection.turn = Turn::Cooling;
            connection.deregister(self.poll.registry());
            self.cooling.push(id);
            self.cooled_at.get_or_insert(self.now + coalesce);
        } else {
            self.poll_again(id);
        }
    }

    /// How long whoever publishes to a client waits for it.
    pub(super) fn stalled_until(&self, crowded: ClientId, since: Instant) -> Instant {
        since + CROWDED_TIME * self.broker.crowding(crowded)
    }

    /// Reads on where what was waited for has come about, or the time is up.
    pub(super) fn go_on(&mut self) {
        for (id, crowded, since) in std::mem::take(&mut self.stalled) {
            let is_over = self.now >= self.stalled_until(crowded, since);
            if !is_over && self.phase == Phase::Serving {
                self.stalled.push((id, crowded, since));
            } else if self
                .connection(id)
                .is_some_and(|connection| connection.turn == Turn::Stalled)
            {
                self.make_ready(id);
            }
        }
    }

    pub(super) fn poll_again(&mut self, id: ClientId) {
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        connection.turn = Turn::Polled;
        if let Err(error) = connection.register(self.poll.registry()) {
            self.broken(id, &error, CloseReason::ReadError);
        }
    }

    pub(super) fn hold(&mut self, id: ClientId, way: Way) {
        if way != Way::Login {
            self.metrics.nats_held_back.inc();
        }
        if let Some(connection) = self.connection(id) {
            connection.turn = Turn::Held;
            self.held.push((id, way));
        }
    }

    pub(super) fn resume(&mut self, id: ClientId, room: Room) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.turn = Turn::Ready;
        let input = std::mem::take(&mut connection.input);
        self.partial_bytes -= input.capacity();
        if input.is_empty() {
            return self.ready.push(id);
        }
        let taken = self.process(id, input, room);
        match taken.held {
            Some(way) => self.hold(id, way),
            None => self.ready.push(id),
        }
    }
}
