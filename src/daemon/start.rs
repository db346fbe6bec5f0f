//! Makes the channels and starts the threads, the end of the data path first.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};

use super::Daemon;
use super::front::{Ends, Front};
use crate::chain::chain;
use crate::change_set::history::History;
use crate::cli::start::Start;
use crate::events::OwnEvents;
use crate::events::delivery::Refused;
use crate::events::journal::{self, JournalLimits, OpenError};
use crate::health::{Health, Part, State};
use crate::http::{EventSubscriptions, Monitor, Operations, Scope};
use crate::identity::Current;
use crate::interrupt::interrupt;
use crate::kube::{Client, Command, ServerAddress, ServiceAccount, Tmaas};
use crate::limits::{
    APP_SIGNALS, CHANGE_SETS, CONFIG_ANSWERS, CONTROL_BATCHES, EVENT_BATCHES, EVENTS_STOP_TIME,
    KUBE_COMMANDS, LINE_BATCHES, LOG_BATCHES, MONITOR_QUESTIONS, OWN_LOG_LINES, SET_ASIDE_BYTES,
    SINK_STALL, SUBSCRIPTION_CHANGES,
};
use crate::logs::backlog::{Backlog, Replay};
use crate::logs::container::Containers;
use crate::logs::disk::RealDisk;
use crate::logs::files::LogFiles;
use crate::logs::folder::FileLimits;
use crate::logs::format::LineForm;
use crate::logs::remote::connect::Connector;
use crate::metrics::Metrics;
use crate::metrics::aligned::exporter::Exporter;
use crate::nats::monitor::Asker;
use crate::nats::tls::TlsError;
use crate::notifications::notifications;
use crate::options::Options;
use crate::progress::Progress;
use crate::registrar::DaemonRegistrar;
use crate::set_aside::SetAside;
use crate::status::{Fixed, Sources, Status};
use crate::subscriptions::Subscriptions;
use crate::surroundings::Surroundings;
use crate::threads::aligned_scraper::AlignedScraper;
use crate::threads::config_delivery::ConfigDelivery;
use crate::threads::etcd_watch::EtcdWatch;
use crate::threads::event_sender::EventSender;
use crate::threads::file_writer::{FileCommand, FileWriter};
use crate::threads::http_server::HttpServer;
use crate::threads::journal_writer::JournalThread;
use crate::threads::kafka_consumer::KafkaConsumer;
use crate::threads::kubernetes::Kubernetes;
use crate::threads::log_connector::LogConnector;
use crate::threads::log_sender::LogSender;
use crate::threads::nats_server::{Senders, Stop};
use crate::threads::nats_subscriptions::NatsSubscriptions;
use crate::threads::signals;
use crate::threads::spawn::NOTICES;
use crate::threads::stdout_writer::StdoutWriter;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken, an address is not this machine's, or a low port needs rights.
    #[error(
        "cannot listen on {address} for {what}: choose another port with {setting}, or end what listens there"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What would have listened.
        what: &'static str,
        /// The setting that moves it.
        setting: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another CIM works with the same state directory, or it cannot be used.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A file for TLS has become bad since it was checked.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system gives no thread, no poll or no signal handler.
    #[error("cannot start {0}")]
    Thread(&'static str, #[source] io::Error),
}

pub(super) fn listen(
    address: SocketAddr,
    what: &'static str,
    setting: &'static str,
) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen {
        address,
        what,
        setting,
        source,
    })
}

pub(super) fn started<T>(what: &'static str, result: io::Result<T>) -> Result<T, StartError> {
    result.map_err(|source| StartError::Thread(what, source))
}

impl Daemon {
    /// Starts everything. It is useful when this returns: NATS, log files, metrics.
    ///
    /// # Errors
    /// A port that cannot be had, or an operating system that gives no threads.
    pub fn start(start: Start) -> Result<Self, StartError> {
        let Start {
            options,
            identity,
            settings,
            metrics,
            own_log,
            mut remarks,
            shown,
        } = start;
        let options = Arc::new(options);
        let health = Arc::new(Health::new());
        let own_log = Arc::new(own_log);
        let api_server = api_server(&options, &health, &metrics, &mut remarks);
        let current = Arc::new(Current::new(identity.clone(), api_server.is_none()));
        let lmaas = settings.load().cim.lmaas.clone();

        // Before anything else touches the files: who owns the journal owns the state directory.
        let (journal, reader) = journal::open(
            &options.paths.state_dir.join("journal"),
            JournalLimits::new(options.journal.bytes_max, options.journal.fsync),
            &metrics,
        )?;

        let stored = options.paths.state_dir.join("subscriptions.json");
        let (event_subscriptions, unusable) = Subscriptions::open(stored);
        let event_subscriptions = Arc::new(event_subscriptions);
        remarks.extend(unusable.map(|error| (log::Level::Warn, error.to_string())));

        let front = Front::open(&options)?;
        let rest_listener = listen(options.rest, "the operations API", "CIM_REST_PORT")?;
        let rest = started("the operations API", rest_listener.local_addr())?;
        let mut listeners = vec![(rest_listener, Scope::All)];
        if let Some(address) = options.metrics {
            listeners.push((
                listen(address, "metrics", "CIM_METRICS_BIND")?,
                Scope::MetricsOnly,
            ));
        }

        let (notices_in, notices) = bounded(NOTICES);
        let (signals_thread, signals) = started("the signal handler", signals::start(&notices_in))?;

        let wake_nats = Arc::clone(&front.wake);
        let wake = || {
            let wake = Arc::clone(&wake_nats);
            move || wake()
        };
        let (log_progress, event_progress) = (Progress::new(wake()), Progress::new(wake()));
        let control_progress = Progress::new(wake());
        let (nats_changes, changes) = bounded(1);
        let (questions_out, questions) = bounded(MONITOR_QUESTIONS);
        let asker = (!front.is_external()).then(|| Asker::new(questions_out, wake()));
        let (notifier, outlet) = notifications(options.nats_limits.payload_bytes, wake());

        let (log_out, log_in) = bounded(LOG_BATCHES);
        let (events_out, events_in) = bounded(EVENT_BATCHES);
        let (control_out, control_in) = bounded(CONTROL_BATCHES);
        let (journal_out, journal_in) = bounded(EVENT_BATCHES);
        let (remote_out, remote_in) = bounded(LINE_BATCHES);
        let (own_out, own_in) = bounded(OWN_LOG_LINES);
        let (file_out, file_in) = bounded(LINE_BATCHES);
        let (stdout_out, stdout_in) = bounded(LINE_BATCHES);

        let containers = Containers::new(&identity.pod, &identity.namespace);
        let board = containers.board();
        let backlog = Backlog::open(
            Box::new(RealDisk),
            &options.paths.state_dir,
            options.paths.log_dir.clone(),
            containers.prefix(),
            Arc::clone(&metrics),
        );
        let (commands_out, commands_in) = bounded(1);
        let files = LogFiles::new(
            RealDisk,
            options.paths.log_dir.clone(),
            containers.prefix().to_owned(),
            FileLimits::from(&lmaas),
            Arc::clone(&metrics),
        )
        .with_backlog(Arc::clone(&backlog));
        let file_writer = FileWriter {
            batches: file_in,
            commands: commands_in,
            files,
            settings: Arc::clone(&settings),
            progress: Arc::clone(&log_progress),
        };
        let stdout =
            rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).map_err(io::Error::from);
        let stdout_writer = StdoutWriter {
            batches: stdout_in,
            files: file_out.clone(),
            out: started("the stdout writer", stdout)?,
            stall: SINK_STALL,
            form: LineForm::new(&identity.pod, &identity.namespace),
            settings: Arc::clone(&settings),
            progress: Arc::clone(&log_progress),
            metrics: Arc::clone(&metrics),
        };
        let (answers_out, answers_in) = bounded(CONFIG_ANSWERS);
        let (signals_out, signals_in) = bounded(APP_SIGNALS);
        let (shutdown_out, shutdown) = bounded(1);
        let (change_sets_out, change_sets_in) = bounded(CHANGE_SETS);
        let (kubernetes_out, kubernetes_in) = bounded(KUBE_COMMANDS);
        let who = Arc::clone(&current);
        let (own_events, raised) = OwnEvents::new(move || who.load(), Arc::clone(&metrics));
        let surroundings = Surroundings {
            settings: Arc::clone(&settings),
            options: Arc::clone(&options),
            identity: Arc::clone(&current),
        };
        let set_aside = Arc::new(SetAside::new(
            options.paths.state_dir.join("set-aside.jsonl"),
            SET_ASIDE_BYTES,
        ));
        let (connect_out, connect_in) = bounded(1);
        let (made_out, made_in) = bounded(1);
        let log_connector = LogConnector {
            requests: connect_in,
            made: made_out,
            connector: Connector::new(
                surroundings.clone(),
                api_server.is_some().then(|| kubernetes_out.clone()),
            ),
        };
        let log_sender = LogSender {
            batches: remote_in,
            files: file_out.clone(),
            connect: connect_out,
            connected: made_in,
            replay: Replay::new(Arc::clone(&backlog), move || {
                // One wake-up that waits stands for all.
                let _ = commands_out.try_send(FileCommand::RemoveDelivered);
            }),
            backlog,
            form: LineForm::new(&identity.pod, &identity.namespace),
            surroundings: surroundings.clone(),
            own_events: own_events.clone(),
            set_aside: Arc::clone(&set_aside),
            health: Arc::clone(&health),
            progress: Arc::clone(&log_progress),
            metrics: Arc::clone(&metrics),
        };
        let (journal_stop, journal_stopped) = bounded(0);
        let (events_interrupter, events_interrupt) = interrupt();
        let event_sender = EventSender {
            fresh: reader.fresh().clone(),
            journal: reader,
            set_aside: set_aside_event(Arc::clone(&set_aside)),
            interrupt: events_interrupt,
            settings: Arc::clone(&settings),
            identity: Arc::clone(&current),
            kafka: options.kafka.clone(),
            log_dir: options.paths.log_dir.clone(),
            stop_time: EVENTS_STOP_TIME,
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
        };
        let journal_writer = JournalThread {
            batches: journal_in,
            raised,
            stop: journal_stopped,
            journal,
            progress: Arc::clone(&event_progress),
            metrics: Arc::clone(&metrics),
        };
        // Nobody takes them yet: the channel is closed with the end of this function.
        let (changes_out, changes_in) = bounded(SUBSCRIPTION_CHANGES);
        let (consumer_interrupter, consumer_interrupt) = interrupt();
        let kafka_consumer = KafkaConsumer {
            notifier,
            subscriptions: Arc::clone(&event_subscriptions),
            changes: changes_in,
            interrupt: consumer_interrupt,
            settings: Arc::clone(&settings),
            identity: Arc::clone(&current),
            kafka: options.kafka.clone(),
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
        };
        let history = Arc::new(Mutex::new(History::default()));
        let registrations = Arc::new(AtomicU64::new(0));
        let forget = Arc::new(AtomicBool::new(false));
        let (watch_interrupter, watch_interrupt) = interrupt();
        let (delivery_interrupter, delivery_interrupt) = interrupt();
        let (aligned_interrupter, aligned_interrupt) = interrupt();

        let etcd_watch = EtcdWatch {
            surroundings: surroundings.clone(),
            change_sets: change_sets_out,
            interrupt: watch_interrupt,
            settings: Arc::clone(&settings),
            history: Arc::clone(&history),
            own_events: own_events.clone(),
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
        };
        let config_delivery = ConfigDelivery {
            surroundings: surroundings.clone(),
            change_sets: change_sets_in,
            answers: answers_in,
            signals: signals_in,
            registrations: Arc::clone(&registrations),
            forget: Arc::clone(&forget),
            interrupt: delivery_interrupt,
            settings: Arc::clone(&settings),
            own_log: Arc::clone(&own_log),
            history: Arc::clone(&history),
            own_events: own_events.clone(),
            delete_pod: pod_deletion(api_server.is_some().then(|| kubernetes_out.clone())),
            metrics: Arc::clone(&metrics),
        };
        let exporter = Arc::new(Exporter::new(Arc::clone(&metrics)));
        let aligned_scraper = AlignedScraper {
            identity: Arc::clone(&current),
            settings: Arc::clone(&settings),
            exporter: Arc::clone(&exporter),
            own_port: rest.port(),
            interrupt: aligned_interrupt,
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
        };
        let wake_others = {
            let (watch, delivery) = (watch_interrupter.clone(), delivery_interrupter.clone());
            let aligned = aligned_interrupter.clone();
            let consumer = consumer_interrupter.clone();
            move || {
                watch.wake();
                delivery.wake();
                aligned.wake();
                consumer.wake();
            }
        };
        let kubernetes = api_server.map(|client| Kubernetes {
            client,
            tmaas: Tmaas::default(),
            environment: identity.clone(),
            identity: Arc::clone(&current),
            settings: Arc::clone(&settings),
            own_log: Arc::clone(&own_log),
            health: Arc::clone(&health),
            commands: kubernetes_in,
            changed: Box::new(wake_others),
        });
        let subscriptions = NatsSubscriptions {
            log: log_in,
            events: events_in,
            control: control_in,
            own: own_in,
            file: file_out,
            stdout: stdout_out,
            remote: remote_out,
            journal: journal_out,
            answers: answers_out,
            signals: signals_out,
            shutdown: shutdown_out,
            set_aside,
            containers,
            own_id: identity.container_id.clone(),
            settings: Arc::clone(&settings),
            log_progress: Arc::clone(&log_progress),
            event_progress: Arc::clone(&event_progress),
            control_progress: Arc::clone(&control_progress),
            metrics: Arc::clone(&metrics),
        };
        let nats_stop = Arc::new(Stop::default());
        let ends = Ends {
            senders: Senders {
                log: log_out,
                events: events_out,
                control: control_out,
            },
            log_progress,
            event_progress,
            control_progress,
            notifications: outlet,
            changes,
            questions,
            monitor: rest,
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            stop: Arc::clone(&nats_stop),
        };
        let (nats, nats_tls) = (front.shown.clone(), front.tls.clone());
        let http_server = HttpServer {
            listeners,
            handler: Operations {
                metrics: Arc::clone(&metrics),
                aligned: exporter,
                settings: Arc::clone(&settings),
                health: Arc::clone(&health),
                history,
                status: Status::new(
                    Sources {
                        fixed: Fixed {
                            nats: nats.clone(),
                            nats_external: front.is_external(),
                            rest: rest.to_string(),
                            log_dir: options.paths.log_dir.display().to_string(),
                            state_dir: options.paths.state_dir.display().to_string(),
                            journal_bytes_max: options.journal.bytes_max,
                            settings: shown,
                        },
                        identity: Arc::clone(&current),
                        board,
                        recent: own_log.recent(),
                    },
                    Arc::clone(&metrics),
                    Instant::now(),
                ),
                monitor: Monitor::new(asker, options.monitor.clone()),
                subscriptions: EventSubscriptions::new(
                    event_subscriptions,
                    changes_out,
                    Arc::clone(&metrics),
                ),
                registrar: DaemonRegistrar {
                    known: surroundings.clone(),
                    kubernetes: kubernetes.is_some().then(|| kubernetes_out.clone()),
                    registered: {
                        let delivery = delivery_interrupter.clone();
                        Box::new(move |_| {
                            registrations.fetch_add(1, Ordering::AcqRel);
                            delivery.wake();
                        })
                    },
                },
            },
            metrics: Arc::clone(&metrics),
            limits: crate::http::Limits::default(),
        };

        // The end of the data path first, so that nothing is sent to nobody.
        let file = started("the file writer", file_writer.spawn(&notices_in))?;
        let stdout = started("the stdout writer", stdout_writer.spawn(&notices_in))?;
        let journal = started("the journal writer", journal_writer.spawn(&notices_in))?;
        let subscriptions = started("the subscriptions", subscriptions.spawn(&notices_in))?;
        own_log.attach(own_out);
        // These have something to say at once, and the first line on standard output says where CIM listens.
        let connector = log_connector.spawn(&notices_in);
        // What it does may take long, and nobody waits for it at the end.
        drop(started("the log connector", connector)?);
        let log_sender = started("the log sender", log_sender.spawn(&notices_in))?;
        let events = started("the event sender", event_sender.spawn(&notices_in))?;
        let (server_name, server) = front.spawn(ends, &options, &identity, &notices_in)?;
        let (http, http_stop) = started("the operations API", http_server.spawn(&notices_in))?;
        let delivery = started(
            "the delivery of configuration",
            config_delivery.spawn(&notices_in),
        )?;
        let watch = started("the watch of etcd", etcd_watch.spawn(&notices_in))?;
        let consumer = kafka_consumer.spawn(&notices_in);
        let consumer = started("the Kafka consumer", consumer)?;
        let aligned = aligned_scraper.spawn(&notices_in);
        let aligned = started("the scraper of aligned metrics", aligned)?;
        let to_kubernetes = kubernetes.is_some().then(|| kubernetes_out.clone());
        let kubernetes = kubernetes.map(|thread| thread.spawn(kubernetes_out, &notices_in));
        let kubernetes = started("Kubernetes", kubernetes.transpose())?;
        let (kubernetes, kubernetes_stop) = kubernetes.unzip();
        health.set(Part::Http, State::Ready, &format!("listening on {rest}"));
        Ok(Self {
            notices,
            own_log,
            metrics,
            settings,
            health,
            nats_stop,
            wake_nats,
            nats_tls,
            nats_changes,
            http_stop,
            kubernetes_stop,
            to_kubernetes,
            watch: watch_interrupter,
            delivery: delivery_interrupter,
            aligned: aligned_interrupter,
            consumer: consumer_interrupter,
            forget,
            shutdown,
            own_events: Some(own_events),
            journal_stop: Some(journal_stop),
            events: events_interrupter,
            surroundings,
            signals,
            threads: [
                ("etcd-watch", Some(watch)),
                ("aligned-scraper", Some(aligned)),
                ("kafka-consumer", Some(consumer)),
                (server_name, Some(server)),
                ("nats-subscript", Some(subscriptions)),
                ("config-delivery", Some(delivery)),
                ("stdout-writer", Some(stdout)),
                ("log-sender", Some(log_sender)),
                ("file-writer", Some(file)),
                ("journal-writer", Some(journal)),
                ("event-sender", Some(events)),
                ("kubernetes", kubernetes),
                ("http-server", Some(http)),
                ("signals", Some(signals_thread)),
            ]
            .into_iter()
            .filter_map(|(name, thread)| Some((name, thread?)))
            .collect(),
            remarks,
            nats,
            rest,
        })
    }
}

/// The client of the API server; `None` where there is none, which the health says.
fn api_server(
    options: &Options,
    health: &Health,
    metrics: &Arc<Metrics>,
    remarks: &mut Vec<(log::Level, String)>,
) -> Option<Client> {
    if options.standalone {
        let reason = "not in a pod (no K8S_POD_ID): Kubernetes is not asked";
        health.set(Part::Kubernetes, State::Disabled, reason);
        return None;
    }
    let (host, port) = &options.kubernetes;
    match ServerAddress::new(host.as_deref(), port.as_deref()) {
        Ok(address) => {
            let account = ServiceAccount::new(&options.paths.service_account_dir);
            Some(Client::new(&address, account, Arc::clone(metrics)))
        }
        Err(error) => {
            let next = "CIM works with what the environment says; put it right and start CIM again, or leave K8S_POD_ID out where there is no Kubernetes";
            health.not_ready(Part::Kubernetes, &error.to_string(), next);
            remarks.push((log::Level::Warn, format!("no Kubernetes: {error}")));
            None
        }
    }
}

/// How an event that no sink will ever take is kept.
fn set_aside_event(set_aside: Arc<SetAside>) -> Box<dyn Fn(&Refused<'_>) + Send> {
    Box::new(move |refused| {
        let key = Some(refused.key).filter(|key| !key.is_empty());
        let Refused {
            topic,
            payload,
            reason,
            now_ms,
            ..
        } = *refused;
        if let Err(error) = set_aside.keep(topic, key, payload, reason, now_ms) {
            log::error!("{}", chain(&error));
        }
    })
}

/// How the pod is deleted when the application cannot be configured.
fn pod_deletion(to: Option<Sender<Command>>) -> Box<dyn Fn(&'static str) + Send> {
    Box::new(move |reason| {
        let Some(to) = &to else {
            log::error!("{reason}; there is no Kubernetes to delete the pod");
            return;
        };
        let command = Command::RestartPod { reason };
        if to.try_send(command).is_err() {
            log::error!("{reason}; the pod is not deleted: CIM has too much to ask of Kubernetes");
        }
    })
}
