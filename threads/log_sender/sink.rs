//! Which sink it is, and how it comes and goes.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::TrySendError;

use super::outage::Outage;
use super::{Sending, Source};
use crate::health::{Part, State};
use crate::limits::REMOTE_RETRY_FIRST;
use crate::logs::remote::Remote;
use crate::logs::remote::wanted::Wanted;
use crate::threads::log_connector::{Connection, Request};

impl Sending {
    /// The sink in use is not the one that the settings name.
    pub(super) fn is_leaving(&self) -> bool {
        self.target != self.wanted
    }

    /// Does what another mode or address asks for, once what is in flight has arrived.
    pub(super) fn follow_settings(&mut self) {
        let settings = Arc::clone(&self.parts.surroundings.settings.load());
        if !Arc::ptr_eq(&settings, &self.seen) {
            self.wanted = Wanted::of(&settings);
            self.seen = settings;
        }
        let waits = self.outage.is_none() && !self.window.is_empty();
        if self.is_leaving() && !waits {
            self.leave();
        }
        let is_known = self.parts.surroundings.identity.is_settled();
        let keeps = self.wanted.is_some() && self.retransmits();
        // Not while there is some on its way to the files.
        let is_written = self.parts.progress.is_all_written();
        if is_known && !keeps && is_written && !self.parts.backlog.is_empty() {
            self.parts.backlog.forget();
        }
    }

    pub(super) fn leave(&mut self) {
        self.drop_sink();
        self.asked = None;
        self.steady_since = None;
        self.backoff.reset();
        self.target = self.wanted.clone();
        let now = Instant::now();
        if let Some(target) = &self.target {
            let why = format!("no connection to {}: {target} yet", self.name());
            let next = "log lines wait 5 s for it, and go to the log files then";
            self.parts.health.not_ready(Part::Collector, &why, next);
            if let Some(outage) = &mut self.outage {
                outage.try_at = now;
            } else if self.retransmits() && !self.parts.backlog.is_empty() {
                // What an earlier run has left goes first.
                self.outage = Some(Outage::new(now));
            }
        } else {
            self.say_without();
        }
        self.ask();
    }

    /// The mode has no remote sink.
    pub(super) fn say_without(&self) {
        let health = &self.parts.health;
        health.set(
            Part::Collector,
            State::Disabled,
            "the logging mode in force sends log lines to no remote sink",
        );
    }

    /// What goes to the files is to be sent later. As long as nothing is known of the surroundings, it may be.
    pub(super) fn retransmits(&self) -> bool {
        self.seen.infra.enable_retrx || self.parts.surroundings.settings.lacks_infra()
    }

    /// Asks for a sink.
    pub(super) fn ask(&mut self) {
        let Some(target) = &self.target else {
            return;
        };
        if self.asked.is_some() || self.sink.is_some() {
            return;
        }
        self.requests += 1;
        let request = Request::Make {
            number: self.requests,
            target: target.clone(),
        };
        // Full: an older request is being dealt with.
        match self.parts.connect.try_send(request) {
            Ok(()) => self.asked = Some(self.requests),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let pause = Instant::now() + REMOTE_RETRY_FIRST;
                if let Some(outage) = &mut self.outage {
                    outage.try_at = pause;
                }
            }
        }
    }

    pub(super) fn on_connection(&mut self, connection: Connection) {
        if self.asked != Some(connection.number) {
            // For a target that is not wanted any more: asked for again.
            if let Ok(sink) = connection.sink {
                self.end(sink);
            }
            return self.ask();
        }
        self.asked = None;
        match connection.sink {
            Ok(sink) => {
                self.sink = Some(sink);
                self.moved = Instant::now();
                self.window.rewind();
                if self.outage.is_none() {
                    self.is_steady();
                }
            }
            Err(error) => self.begin_outage(&error),
        }
    }

    /// Lines go straight to the sink.
    pub(super) fn is_steady(&mut self) {
        self.steady_since = Some(Instant::now());
        let what = self.name();
        let peer = self.target.as_ref().map(ToString::to_string);
        let peer = peer.unwrap_or_default();
        let health = &self.parts.health;
        health.set(Part::Collector, State::Ready, &format!("{what}: {peer}"));
        log::info!("log lines go to {what}: {peer}");
    }

    pub(super) fn name(&self) -> &'static str {
        self.target.as_ref().map_or("", Wanted::name)
    }

    /// Lines of the files that were in flight are read again; live ones wait in the window. There is never one kind beside the other.
    pub(super) fn drop_sink(&mut self) {
        if let Some(sink) = self.sink.take() {
            self.end(sink);
        }
        if self.outage.is_some() {
            while let Some(chunk) = self.window.pop() {
                let begun = chunk.left().next().unwrap_or(chunk.lines);
                if let Source::Stored(stored) = chunk.what {
                    self.delivered(&stored, begun as usize);
                }
            }
            self.parts.replay.rewind();
        }
    }

    /// Librdkafka waits for its threads: that is not for this one, unless the other is busy too.
    pub(super) fn end(&self, sink: Box<dyn Remote + Send>) {
        let _ = self.parts.connect.try_send(Request::End(sink));
    }

    /// Without a sink: asks for one when it is time.
    pub(super) fn try_again(&mut self) {
        let now = Instant::now();
        let outage = self.outage.as_ref();
        if outage.is_none_or(|outage| outage.try_at <= now) {
            self.ask();
        }
    }
}
