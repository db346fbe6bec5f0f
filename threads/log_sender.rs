//! Thread `log-sender`: log lines to the remote sink, a TCP collector or Kafka.
//!
//! In: `batches` (`nats_subscriptions`, lane Remote), `connected` (`log_connector`). Out: `connect` (`log_connector`: a sink is wanted;
//! never waited for), `files` (`file_writer`: what the sink does not take; blocking, and `file_writer` sends nothing back but
//! `progress`), `sent_files` (`file_writer`: files that have been sent).
//!
//! What is in flight is kept until it has arrived. A sink that breaks, or lets a line wait for [`SINK_STALL`](crate::limits::SINK_STALL), is given up for a while:
//! an *outage*. What it had not taken goes to the files, and so does all that comes, until the outage is over: when there is a sink
//! again and, with `enable_retrx`, when all that lies in the files has been sent.
//!
//! ```text
//! sink.rs   which sink, and how it comes and goes     flight.rs   lines into it, and off the list     outage.rs   when it takes none
//! ```
//!
//! Ends when no sender of `batches` is left and every line has arrived or is handed over.

mod flight;
mod outage;
mod sink;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

use self::outage::Outage;
use crate::backoff::Backoff;
use crate::events::OwnEvents;
use crate::health::Health;
use crate::limits::{REMOTE_RETRY_FIRST, REMOTE_RETRY_LAST, REMOTE_WINDOW_BYTES, REPLAY_STOP_TIME};
use crate::logs::backlog::{Backlog, Replay, StoredChunk};
use crate::logs::batch::LineBatch;
use crate::logs::format::LineForm;
use crate::logs::remote::wanted::Wanted;
use crate::logs::remote::window::{Chunk, Window};
use crate::logs::remote::{Arrived, Remote, RemoteError};
use crate::logs::throttle::Throttle;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::set_aside::SetAside;
use crate::settings::Settings;
use crate::surroundings::Surroundings;
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
