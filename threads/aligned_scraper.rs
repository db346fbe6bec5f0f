//! Thread `aligned-scraper`: scrapes the application's ports, and CIM itself, at wall-clock multiples of the interval that the pod's
//! annotation `xgvela.com/mmaas` names.
//!
//! In: the shared identity, which has the annotation; the interrupt tells when it may have changed. Without an annotation that asks
//! for scrapes the thread sleeps until then. Else it looks at the clock once a second and at the aligned times, and for each scrape
//! every port has a thread for a moment, so that one that hangs does not keep the others from their time.
//! Out: snapshots (`metrics::aligned::Exporter`), the health. Ends when the interrupt says so, the calls under way included; it holds
//! nothing that must be stored.

use std::collections::BTreeMap;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;

use crate::chain::chain;
use crate::clock;
use crate::health::{Health, Part, State, reason};
use crate::identity::Current;
use crate::interrupt::Interrupt;
use crate::limits::ALIGNED_SCRAPE_TIME;
use crate::metrics::Metrics;
use crate::metrics::aligned::annotation::{self, Plan, Wanted};
use crate::metrics::aligned::client::{Client, Room, Scraped};
use crate::metrics::aligned::exporter::{Exporter, Unavailable};
use crate::metrics::aligned::schedule::Schedule;
use crate::metrics::aligned::scrape_error::ScrapeError;
use crate::metrics::aligned::{Format, ParseLimits, Snapshot, parse};
use crate::settings::Store;
use crate::threads::spawn::{Notice, spawn};

/// The thread before it starts.
pub struct AlignedScraper {
    /// Who this sidecar is; the annotation is a part of it.
    pub identity: Arc<Current>,
    /// `cim_settings.enable_kpi` says whether CIM's own series are there.
    pub settings: Arc<Store>,
    /// Where snapshots go.
    pub exporter: Arc<Exporter>,
    /// The REST port: what CIM's own series are labelled with.
    pub own_port: u16,
    /// Told when the identity may have changed, and to end.
    pub interrupt: Interrupt,
    /// Says how the scrapes are.
    pub health: Arc<Health>,
    /// Counts them, and is scraped itself.
    pub metrics: Arc<Metrics>,
}

/// What is done while scrapes are on.
struct Work {
    plan: Plan,
    client: Client,
    schedule: Schedule,
    /// The ports whose last scrape failed, and why.
    failing: BTreeMap<u16, String>,
}

impl AlignedScraper {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("aligned-scraper", notices, move || self.run())
    }

    fn run(self) {
        let mut seen = None;
        let mut work = None;
        loop {
            let is_settled = self.identity.is_settled();
            let now = (is_settled, self.identity.load().mmaas.clone());
            if seen.as_ref() != Some(&now) {
                work = self.begin(now.1.as_deref(), now.0);
                seen = Some(now);
            }
            let go_on = match &mut work {
                None => self.interrupt.wait(),
                Some(work) => {
                    self.turn(work);
                    self.interrupt.pause(work.schedule.wait(clock::now_ms()))
                }
            };
            if !go_on {
                return;
            }
        }
    }

    /// What the annotation means, for everybody who wants to know.
    fn begin(&self, text: Option<&str>, is_settled: bool) -> Option<Work> {
        let off = |state, why: Unavailable| {
            let (Unavailable::Off(reason) | Unavailable::NotReady(reason)) = &why;
            self.health.set(Part::AlignedMetrics, state, reason);
            self.exporter.switch_off(why);
            // The sockets of an earlier annotation need no closing any more.
            self.interrupt.attach(|| ());
            None
        };
        let name = annotation::NAME;
        let Some(text) = text else {
            return match is_settled {
                true => {
                    let why = format!(
                        "no annotation {name} is known: nothing is scraped until the pod has it"
                    );
                    off(State::Disabled, Unavailable::Off(why))
                }
                false => {
                    let why = format!(
                        "Kubernetes has not said yet who this pod is; nothing is scraped until its annotation {name} is known"
                    );
                    off(State::NotReady, Unavailable::NotReady(why))
                }
            };
        };
        match Wanted::parse(text) {
            Ok(Wanted::On(plan)) => Some(self.switch_on(plan)),
            Ok(Wanted::Off) => {
                let why = format!("the annotation {name} asks for none: scrape is not \"true\"");
                off(State::Disabled, Unavailable::Off(why))
            }
            Err(error) => {
                log::error!("no aligned metrics: {error}");
                let next = "nothing is scraped until it is put right";
                let why = reason(&error.to_string(), next);
                off(State::NotReady, Unavailable::NotReady(why))
            }
        }
    }

    fn switch_on(&self, mut plan: Plan) -> Work {
        // It is scraped in any case; twice would be every series twice.
        plan.ports.retain(|&port| port != self.own_port);
        let client = Client::new(&plan);
        let closer = client.closer();
        self.interrupt.attach(move || closer.close());
        self.exporter.switch_on(plan.retention);
        let work = Work {
            schedule: Schedule::new(plan.interval, clock::now_ms()),
            failing: BTreeMap::new(),
            client,
            plan,
        };
        log::info!("aligned metrics: {}", work.describe());
        self.say_how_it_is(&work);
        work
    }

    fn turn(&self, work: &mut Work) {
        let due = work.schedule.due(clock::now_ms());
        self.metrics.aligned.missed.inc_by(due.missed);
        if let Some(aligned_ms) = due.scrape {
            self.scrape(work, aligned_ms);
        }
    }

    fn scrape(&self, work: &mut Work, aligned_ms: u64) {
        let time = work.plan.interval.min(ALIGNED_SCRAPE_TIME);
        let (client, room) = (&work.client, Room::default());
        let mut snapshot = Snapshot::new(aligned_ms);
        let mut results = Vec::with_capacity(work.plan.ports.len());
        thread::scope(|scope| {
            let call = |port| {
                let builder = thread::Builder::new().name("aligned-port".into());
                let room = &room;
                builder.spawn_scoped(scope, move || client.get(port, time, room))
            };
            let calls: Vec<_> = work.plan.ports.iter().map(|&p| (p, call(p))).collect();
            if let Err(error) = self.add_own(&mut snapshot) {
                log::error!(
                    "CIM's own series are not in the snapshot: {}",
                    chain(&error)
                );
            }
            for (port, call) in calls {
                let answer = match call {
                    // A panic in there is one of this thread.
                    Ok(call) => call.join().unwrap_or_else(|panic| resume_unwind(panic)),
                    Err(source) => Err(ScrapeError::NoThread { source }),
                };
                let result = answer.and_then(|answer| add(&mut snapshot, port, &answer));
                results.push((port, result));
            }
        });
        if self.interrupt.is_stopped() {
            return;
        }
        for (port, result) in results {
            self.judge(work, port, result);
        }
        self.exporter.push(snapshot);
        self.say_how_it_is(work);
    }

    fn add_own(&self, snapshot: &mut Snapshot) -> Result<(), ScrapeError> {
        if !self.settings.load().cim.cim_settings.enable_kpi {
            return Ok(());
        }
        let text = self.metrics.render().map_err(ScrapeError::Own)?;
        let format = Format::Text;
        add(snapshot, self.own_port, &Scraped { text, format })
    }

    /// Counts, and tells what has changed.
    fn judge(&self, work: &mut Work, port: u16, result: Result<(), ScrapeError>) {
        let label = if result.is_ok() { "success" } else { "failure" };
        self.metrics
            .aligned
            .scrapes
            .with_label_values(&[label])
            .inc();
        match result {
            Ok(()) => {
                if work.failing.remove(&port).is_some() {
                    log::info!("aligned metrics: port {port} can be scraped again");
                }
            }
            Err(error) => {
                let reason = chain(&error);
                let before = work.failing.insert(port, reason.clone());
                if before.as_ref() != Some(&reason) {
                    log::warn!("aligned metrics: port {port} is left out: {reason}");
                }
            }
        }
    }

    fn say_how_it_is(&self, work: &Work) {
        let (state, reason) = match work.failing.first_key_value() {
            None => (State::Ready, work.describe()),
            Some((port, why)) => {
                let more = match work.failing.len() - 1 {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                let why = format!("the application's port {port}{more}: {why}");
                let next = "it is left out, and asked again at the next aligned time";
                (State::NotReady, reason(&why, next))
            }
        };
        self.health.set(Part::AlignedMetrics, state, &reason);
    }
}

impl Work {
    fn describe(&self) -> String {
        let Plan {
            interval, ports, ..
        } = &self.plan;
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        match ports.as_slice() {
            [] => format!("every {interval:?} CIM itself"),
            _ => format!(
                "every {interval:?} ports {} and CIM itself",
                ports.join(", ")
            ),
        }
    }
}

fn add(snapshot: &mut Snapshot, port: u16, scraped: &Scraped) -> Result<(), ScrapeError> {
    let families = parse(&scraped.text, scraped.format, &ParseLimits::default())?;
    snapshot.add(port, families)?;
    Ok(())
}
