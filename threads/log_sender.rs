//! Thread `log-sender`: log lines to the remote sink, a TCP collector or Kafka.
//!
//! In: `batches` (`nats_subscriptions`, lane Remote), `connected` (`log_connector`). Out: `connect` (`log_connector`: a sink is wanted;
//! never waited for), `files` (`file_writer`: what the sink does not take; blocking, and `file_writer` sends nothing back but
//! `progress`), `sent_files` (`file_writer`: files that have been sent).
//!
//! What is in flight is kept until it has arrived. A sink that breaks, or lets a line wait for [`SINK_STALL`], is given up for a while:
//! an *outage*. What it had not taken goes to the files, and so does all that comes, until the outage is over: when there is a sink
//! again and, with `enable_retrx`, when all that lies in the files has been sent.
//! Ends when no sender of `batches` is left and every line has arrived or is handed over.

mod outage;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, never, select};

use self::outage::Outage;
use crate::backoff::Backoff;
use crate::chain::chain;
use crate::clock;
use crate::events::{OwnEvent, OwnEvents};
use crate::health::{Health, Part, State};
use crate::kafka::LOGS;
use crate::limits::{
    CATCH_UP_BYTES, REMOTE_RETRY_FIRST, REMOTE_RETRY_LAST, REMOTE_STEADY, REMOTE_WINDOW_BYTES,
    REPLAY_CHUNK_BYTES, REPLAY_STOP_TIME, REPLAY_WINDOW_BYTES, SINK_STALL,
};
use crate::logs::backlog::{Backlog, Replay, StoredChunk};
use crate::logs::batch::LineBatch;
use crate::logs::format::LineForm;
use crate::logs::remote::wanted::Wanted;
use crate::logs::remote::window::{Chunk, Window};
use crate::logs::remote::{Arrived, Remote, RemoteError};
use crate::logs::throttle::Throttle;
use crate::metrics::Metrics;
use crate::progress::{Lane, Progress};
use crate::random;
use crate::set_aside::SetAside;
use crate::settings::Settings;
use crate::surroundings::Surroundings;
use crate::tap::Failure;
use crate::threads::log_connector::{Connection, Request};
use crate::threads::spawn::{Notice, spawn};

/// Between two looks at what has arrived, while lines are in flight and somebody waits for them.
const LOOK_SOON: Duration = Duration::from_millis(1);
/// The same when nobody does.
const LOOK: Duration = Duration::from_millis(5);
/// The same when nothing is in flight: whether the connection still stands, and the settings are the same.
const LOOK_IDLE: Duration = Duration::from_secs(1);

/// What the thread owns.
pub struct LogSender {
    /// Lines to send.
    pub batches: Receiver<LineBatch>,
    /// Way out when the sink is down.
    pub files: Sender<LineBatch>,
    /// To `log_connector`.
    pub connect: Sender<Request>,
    /// From `log_connector`.
    pub connected: Receiver<Connection>,
    /// What lies in the files.
    pub backlog: Arc<Backlog>,
    /// Reads it.
    pub replay: Replay,
    /// Form of a line.
    pub form: LineForm,
    /// Mode, address, `log_format` and `enable_retrx`.
    pub surroundings: Surroundings,
    /// For `LmaasTCPFailure`.
    pub own_events: OwnEvents,
    /// For lines that the sink will never take.
    pub set_aside: Arc<SetAside>,
    /// How the sink is.
    pub health: Arc<Health>,
    /// Where it says what is stored, and sees what `file_writer` has stored for it.
    pub progress: Arc<Progress>,
    /// The series it moves.
    pub metrics: Arc<Metrics>,
}

/// Lines in flight.
enum Source {
    /// From `batches`.
    Live(LineBatch),
    /// From the files.
    Stored(Box<StoredChunk>),
}

struct Sending {
    parts: LogSender,
    /// The settings that were looked at last.
    seen: Arc<Settings>,
    /// The sink that they name; `None`: the mode has no remote one.
    wanted: Option<Wanted>,
    /// Where lines go now.
    target: Option<Wanted>,
    sink: Option<Box<dyn Remote + Send>>,
    /// A sink was asked for: the number of the request.
    asked: Option<u64>,
    requests: u64,
    window: Window<Source>,
    /// Lines go to the files.
    outage: Option<Outage>,
    backoff: Backoff,
    /// Since when lines go straight to the sink.
    steady_since: Option<Instant>,
    /// When something last arrived, or the sink is new.
    moved: Instant,
    arrived: Vec<Arrived>,
    told: Throttle,
}

impl LogSender {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("log-sender", notices, move || Sending::new(self).run())
    }
}

impl Sending {
    fn new(parts: LogSender) -> Self {
        let seen = Arc::clone(&parts.surroundings.settings.load());
        Self {
            wanted: Wanted::of(&seen),
            seen,
            parts,
            target: None,
            sink: None,
            asked: None,
            requests: 0,
            window: Window::default(),
            outage: None,
            backoff: Backoff::new(REMOTE_RETRY_FIRST, REMOTE_RETRY_LAST),
            steady_since: None,
            moved: Instant::now(),
            arrived: Vec::new(),
            told: Throttle::default(),
        }
    }

    fn run(mut self) {
        if self.wanted.is_none() {
            self.say_without();
        }
        let (batches, connected) = (self.parts.batches.clone(), self.parts.connected.clone());
        let closed = never();
        loop {
            self.follow_settings();
            let batches = if self.has_room() { &batches } else { &closed };
            let wait = self.wait();
            // While the sink has no room it is waited for, not the channels.
            let wait_here = if self.window.unsent().is_some() && self.sink.is_some() {
                Duration::ZERO
            } else {
                wait
            };
            select! {
                recv(batches) -> batch => match batch {
                    Ok(batch) => self.take(batch),
                    Err(_) => break,
                },
                recv(connected) -> connection => if let Ok(connection) = connection {
                    self.on_connection(connection);
                },
                default(wait_here) => {}
            }
            self.work(wait - wait_here);
        }
        self.finish();
    }

    /// Everything but the intake.
    fn work(&mut self, wait: Duration) {
        self.refill();
        self.push();
        self.turn(wait);
        self.push();
        self.parts.replay.turn(Instant::now());
        self.check_stall();
        self.try_again();
        self.end_outage();
    }

    /// How long nothing has to be looked at.
    fn wait(&self) -> Duration {
        let is_idle = self.target.is_none() && self.sink.is_none() && self.outage.is_none();
        if is_idle && self.parts.backlog.is_empty() {
            // Until a batch comes; the time only bounds one sleep.
            return Duration::from_secs(3600);
        }
        let waited_for = |chunk: &Chunk<Source>| match &chunk.what {
            Source::Live(batch) => batch.flush,
            Source::Stored(_) => false,
        };
        let mut wait = if self.window.is_empty() {
            LOOK_IDLE
        } else if self.window.iter().any(waited_for) {
            LOOK_SOON
        } else {
            LOOK
        };
        if let Some(outage) = &self.outage {
            let now = Instant::now();
            if self.sink.is_some() {
                wait = wait.min(LOOK);
            } else if self.asked.is_none() {
                wait = wait.min(outage.try_at.saturating_duration_since(now));
            }
        } else if self.sink.is_none() && self.asked.is_none() {
            // The connector was busy.
            wait = wait.min(REMOTE_RETRY_FIRST);
        }
        wait
    }

    /// Another batch may be taken.
    fn has_room(&mut self) -> bool {
        match &mut self.outage {
            Some(outage) => !outage.holds(Instant::now()),
            None => self.window.bytes() < REMOTE_WINDOW_BYTES && !self.is_leaving(),
        }
    }

    /// The sink in use is not the one that the settings name.
    fn is_leaving(&self) -> bool {
        self.target != self.wanted
    }

    /// Does what another mode or address asks for, once what is in flight has arrived.
    fn follow_settings(&mut self) {
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

    fn leave(&mut self) {
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
    fn say_without(&self) {
        let health = &self.parts.health;
        health.set(
            Part::Collector,
            State::Disabled,
            "the logging mode in force sends log lines to no remote sink",
        );
    }

    /// What goes to the files is to be sent later. As long as nothing is known of the surroundings, it may be.
    fn retransmits(&self) -> bool {
        self.seen.infra.enable_retrx || self.parts.surroundings.settings.lacks_infra()
    }

    fn take(&mut self, batch: LineBatch) {
        // A batch may be the first to tell that the mode is another one.
        self.follow_settings();
        if self.target.is_none() {
            // The mode has changed back while this was under way: the file is where it belongs now.
            self.hand_over(batch, false);
        } else if self.outage.is_some() {
            let backlog = self.retransmits();
            self.hand_over(batch, backlog);
        } else {
            let lines = u32::try_from(batch.lines.spans.len()).unwrap_or(u32::MAX);
            let bytes = batch.lines.buffer.len();
            let now = Instant::now();
            self.window.push(Source::Live(batch), lines, bytes, now);
        }
    }

    /// Asks for a sink.
    fn ask(&mut self) {
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

    fn on_connection(&mut self, connection: Connection) {
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
    fn is_steady(&mut self) {
        self.steady_since = Some(Instant::now());
        let what = self.name();
        let peer = self.target.as_ref().map(ToString::to_string);
        let peer = peer.unwrap_or_default();
        let health = &self.parts.health;
        health.set(Part::Collector, State::Ready, &format!("{what}: {peer}"));
        log::info!("log lines go to {what}: {peer}");
    }

    fn name(&self) -> &'static str {
        self.target.as_ref().map_or("", Wanted::name)
    }

    /// During an outage with a sink: fills the window from the files.
    fn refill(&mut self) {
        let catching_up = self.outage.is_some() && self.sink.is_some();
        if !catching_up || !self.retransmits() || self.is_leaving() {
            return;
        }
        while self.window.bytes() < REPLAY_WINDOW_BYTES {
            match self.parts.replay.next_chunk(REPLAY_CHUNK_BYTES) {
                Ok(Some(chunk)) => {
                    let lines = u32::try_from(chunk.lines.spans.len()).unwrap_or(u32::MAX);
                    let bytes = chunk.lines.buffer.len();
                    let now = Instant::now();
                    self.window
                        .push(Source::Stored(Box::new(chunk)), lines, bytes, now);
                }
                Ok(None) => break,
                Err(error) => {
                    if let Some(before) = self.told.pass(Instant::now()) {
                        log::error!(
                            "{}: the log lines in it wait ({before} lines about this left out)",
                            chain(&error)
                        );
                    }
                    break;
                }
            }
        }
    }

    /// Hands the sink what it has room for.
    fn push(&mut self) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        let format = self.seen.infra.log_format;
        let form = &self.parts.form;
        let mut sent = 0;
        let mut result = Ok(true);
        'chunks: while let Some(chunk) = self.window.unsent() {
            let lines = match &chunk.what {
                Source::Live(batch) => &batch.lines,
                Source::Stored(chunk) => &chunk.lines,
            };
            let mut at = 0;
            for (container, lines) in lines.runs() {
                for line in lines {
                    if at >= chunk.sent {
                        result = sink.line(chunk.id, at, &mut |out| {
                            form.append(format, container, line, out);
                        });
                        if !matches!(result, Ok(true)) {
                            break 'chunks;
                        }
                        sent += 1;
                        chunk.sent = at + 1;
                    }
                    at += 1;
                }
            }
            // As many spans as there should be lines: they end here in any case.
            chunk.sent = chunk.lines;
        }
        let series = &self.parts.metrics.remote.sent;
        series.with_label_values(&[self.name()]).inc_by(sent);
        if let Err(error) = result {
            self.begin_outage(&error);
        }
    }

    /// Lets the sink work, and takes note of what has arrived.
    fn turn(&mut self, wait: Duration) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        let mut arrived = std::mem::take(&mut self.arrived);
        let result = sink.turn(wait, &mut arrived);
        if !arrived.is_empty() {
            self.moved = Instant::now();
        }
        for what in arrived.drain(..) {
            self.on_arrived(&what);
        }
        self.arrived = arrived;
        self.pop_done();
        if let Err(error) = result {
            self.begin_outage(&error);
        }
    }

    fn on_arrived(&mut self, what: &Arrived) {
        if let Some((line, reason)) = &what.rejected {
            self.keep_rejected(what.chunk, *line, reason);
        } else {
            let lines = u64::from(what.lines);
            let remote = &self.parts.metrics.remote;
            match self.target {
                Some(Wanted::Kafka { .. }) => remote.to_kafka.inc_by(lines),
                _ => remote.to_tcp.inc_by(lines),
            }
        }
        self.window.arrived(what);
    }

    fn keep_rejected(&mut self, chunk: u64, line: u32, reason: &'static str) {
        let lines = self.window.get(chunk).map(|chunk| match &chunk.what {
            Source::Live(batch) => &*batch.lines,
            Source::Stored(stored) => &stored.lines,
        });
        let text = lines.and_then(|lines| {
            let span = lines.spans.get(line as usize)?;
            Some(span.of(&lines.buffer))
        });
        let text = text.unwrap_or_default();
        let kept = self
            .parts
            .set_aside
            .keep(LOGS, None, text, reason, clock::now_ms());
        let series = &self.parts.metrics.events.set_aside;
        series.with_label_values(&[LOGS, reason]).inc();
        let what = kept
            .as_ref()
            .map_or_else(|error| chain(error), |()| "it is set aside".into());
        if let Some(before) = self.told.pass(Instant::now()) {
            log::warn!(
                "Kafka does not take a log line of {} bytes ({reason}): {what} ({before} lines about this left out)",
                text.len()
            );
        }
    }

    fn pop_done(&mut self) {
        while let Some(chunk) = self.window.pop_done() {
            match chunk.what {
                Source::Live(batch) => self.parts.progress.done(Lane::Remote, batch.seq),
                Source::Stored(stored) => {
                    let lines = stored.lines.spans.len();
                    self.delivered(&stored, lines);
                }
            }
        }
    }

    /// The first `lines` lines of a chunk of the files have arrived, or are set aside.
    fn delivered(&mut self, chunk: &StoredChunk, lines: usize) {
        let lines = self.parts.replay.delivered(chunk, lines, Instant::now());
        let series = &self.parts.metrics.remote.retransmitted;
        series.with_label_values(&[self.name()]).inc_by(lines);
    }

    /// A sink that lets lines wait for too long is as good as none.
    fn check_stall(&mut self) {
        let since = match (&self.outage, &self.sink) {
            // Live lines: how long the oldest has been waiting.
            (None, _) => self.window.oldest(),
            // Stored ones can wait; what counts is that something moves.
            (Some(_), Some(_)) => self.window.oldest().map(|oldest| oldest.max(self.moved)),
            (Some(_), None) => None,
        };
        if since.is_some_and(|since| since.elapsed() >= SINK_STALL) {
            let peer = self.target.as_ref().map(ToString::to_string);
            self.begin_outage(&RemoteError::Stalled {
                peer: peer.unwrap_or_default(),
                time: SINK_STALL,
            });
        }
    }

    /// Lines of the files that were in flight are read again; live ones wait in the window. There is never one kind beside the other.
    fn drop_sink(&mut self) {
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
    fn end(&self, sink: Box<dyn Remote + Send>) {
        let _ = self.parts.connect.try_send(Request::End(sink));
    }

    /// Gives the sink up for a while.
    fn begin_outage(&mut self, error: &RemoteError) {
        let now = Instant::now();
        let name = self.name();
        let had_sink = self.sink.is_some();
        self.drop_sink();
        let remote = &self.parts.metrics.remote;
        if had_sink && name == "tcp" {
            remote.tcp_disconnects.inc();
        }
        let is_new = self.outage.as_ref().is_none_or(|outage| !outage.is_told);
        let since = self.steady_since.take();
        if since.is_some_and(|since| now.duration_since(since) >= REMOTE_STEADY) {
            self.backoff.reset();
        }
        let try_at = now + self.backoff.next(random::number());
        let outage = self.outage.get_or_insert_with(|| Outage::new(try_at));
        outage.try_at = try_at;
        outage.is_told = true;
        let next = match self.retransmits() {
            true => {
                "log lines go to the log files, and from there to it; CIM tries until it is there"
            }
            false => {
                "log lines go to the log files and stay there (enable_retrx); CIM tries until it is there"
            }
        };
        let health = &self.parts.health;
        health.not_ready(Part::Collector, &chain(error), next);
        if let Some(before) = self.told.pass(now) {
            log::error!(
                "{}: log lines go to the log files ({before} lines about this left out)",
                chain(error)
            );
        }
        if is_new {
            remote.outages.with_label_values(&[name]).inc();
            if name == "tcp" && !matches!(error, RemoteError::Ending) {
                self.parts.own_events.raise(OwnEvent::LmaasTcpFailure);
            }
        }
        let backlog = self.retransmits();
        while let Some(chunk) = self.window.pop() {
            let sent = u64::from(chunk.sent);
            let left: Vec<u32> = chunk.left().collect();
            let Source::Live(batch) = chunk.what else {
                continue;
            };
            let arrived = batch.lines.spans.len() - left.len();
            let back = sent.saturating_sub(arrived as u64);
            let series = &self.parts.metrics.remote.handed_back;
            series.with_label_values(&[name]).inc_by(back);
            let lines = if arrived == 0 {
                batch.lines
            } else {
                let is_left =
                    |line| u32::try_from(line).is_ok_and(|l| left.binary_search(&l).is_ok());
                Arc::new(batch.lines.only(is_left))
            };
            self.hand_over(LineBatch { lines, ..batch }, backlog);
        }
    }

    /// Gives `batch` to `file_writer`.
    fn hand_over(&mut self, batch: LineBatch, backlog: bool) {
        self.parts.progress.handing_over();
        let sent = self.parts.files.send(LineBatch { backlog, ..batch });
        if let Err(lost) = sent {
            // Only when `file_writer` is gone: there is nowhere to go.
            let LineBatch { lines, seq, .. } = lost.into_inner();
            let dropped = self
                .parts
                .metrics
                .dropped(crate::metrics::DropReason::Stalled);
            dropped.inc_by(lines.spans.len() as u64);
            if let Some(ack) = &lines.ack {
                ack.fail(Failure::NotWritten);
            }
            self.parts.progress.done(Lane::Remote, seq);
        }
    }

    /// Without a sink: asks for one when it is time.
    fn try_again(&mut self) {
        let now = Instant::now();
        let outage = self.outage.as_ref();
        if outage.is_none_or(|outage| outage.try_at <= now) {
            self.ask();
        }
    }

    /// Lines go to the sink again when there is one and nothing is before them.
    fn end_outage(&mut self) {
        let retransmits = self.retransmits();
        let Some(outage) = &mut self.outage else {
            return;
        };
        let stored = self.parts.progress.is_all_written();
        let ready = self.sink.is_some() || self.target.is_none();
        let left = if retransmits && self.target.is_some() {
            self.parts.backlog.remaining().bytes
        } else {
            0
        };
        if ready && left <= CATCH_UP_BYTES {
            outage.hold(Instant::now());
        }
        let caught_up = !retransmits || self.target.is_none() || self.parts.backlog.is_empty();
        if ready && stored && caught_up && self.window.is_empty() {
            self.outage = None;
            if self.target.is_some() {
                self.is_steady();
            }
        }
    }

    /// No further batch comes: what is in flight gets its time, the rest goes to the files.
    fn finish(&mut self) {
        let ends = Instant::now() + REPLAY_STOP_TIME;
        let in_time = |sending: &Self| sending.outage.is_none() || Instant::now() < ends;
        while self.sink.is_some() && !self.window.is_empty() && in_time(self) {
            self.push();
            self.turn(LOOK);
            self.check_stall();
        }
        if self.outage.is_none() && !self.window.is_empty() {
            self.begin_outage(&RemoteError::Ending);
        }
        self.parts.replay.sync(Instant::now());
        if let Some(sink) = self.sink.take() {
            sink.close();
        }
    }
}
