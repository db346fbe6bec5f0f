//! Topic FMAASEVENTS from both ends: a writer of records with headers, and the thread `kafka-consumer` with an application that keeps
//! what it hears.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cim::health::{Health, Part, State};
use cim::http::{Answer, Response, Wake, later};
use cim::identity::{Current, Host, Identity};
use cim::interrupt::{Interrupter, interrupt};
use cim::kafka::Compression;
use cim::metrics::Metrics;
use cim::notifications::{Outlet, notifications};
use cim::options::{KafkaOptions, Names};
use cim::secret::Secret;
use cim::settings::{Settings, Store};
use cim::subscriptions::{Changed, Filter, Position, Subscriptions};
use cim::threads::kafka_consumer::KafkaConsumer;
use cim::threads::spawn::NOTICES;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tempfile::TempDir;

use crate::support::{PATIENCE, eventually, settled};

const TOPIC: &str = "FMAASEVENTS";
/// Bytes of the largest notification.
const BYTES_MAX: usize = 2000;
/// What makes tests with mock brokers quick: short waits of brokers, and a member of the group that is soon forgotten (these brokers know no static ones). It
/// must be remembered for longer than they wait for further members of a new group, 3 s.
const OPTIONS: [(&str, &str); 5] = [
    ("fetch.wait.max.ms", "20"),
    ("topic.metadata.refresh.interval.ms", "200"),
    ("reconnect.backoff.max.ms", "200"),
    ("session.timeout.ms", "4000"),
    ("heartbeat.interval.ms", "100"),
];

/// Writes records.
pub struct Writer(BaseProducer);

impl Writer {
    pub fn new(brokers: &[String]) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers.join(","))
            .set("enable.idempotence", "true")
            .set("reconnect.backoff.max.ms", "200");
        Self(config.create().unwrap())
    }

    /// Without waiting for it.
    pub fn write(&self, headers: &[(&str, Option<&str>)], value: &str) {
        self.write_bytes(headers, value.as_bytes());
    }

    /// See [`Self::write`].
    pub fn write_bytes(&self, headers: &[(&str, Option<&str>)], value: &[u8]) {
        let mut all = OwnedHeaders::new();
        for &(key, value) in headers {
            all = all.insert(Header { key, value });
        }
        let record = BaseRecord::<str, [u8]>::to(TOPIC).payload(value);
        self.0.send(record.headers(all)).unwrap();
    }

    /// Waits until the broker has everything.
    pub fn flush(&self) {
        self.0.flush(PATIENCE).unwrap();
    }

    /// Numbers as the values of records with `localEventName=E1`, one behind the other into partitions by chance.
    pub fn numbers(&self, numbers: Range<u32>) {
        for n in numbers {
            self.write(&[("localEventName", Some("E1"))], &n.to_string());
        }
        self.flush();
    }
}

/// The application's end.
#[derive(Default)]
pub struct Ear {
    got: Mutex<Vec<String>>,
    is_deaf: AtomicBool,
    is_stuck: AtomicBool,
    taken: AtomicU64,
}

impl Ear {
    /// Somebody is subscribed.
    pub fn heard(&self, heard: bool) {
        self.is_deaf.store(!heard, SeqCst);
    }

    /// What was taken is delivered.
    pub fn delivers(&self, delivers: bool) {
        self.is_stuck.store(!delivers, SeqCst);
    }

    /// What was taken since the start.
    pub fn taken(&self) -> u64 {
        self.taken.load(SeqCst)
    }

    fn listen(&self, outlet: &Outlet, woken: &crossbeam_channel::Receiver<()>) {
        self.taken.store(0, SeqCst);
        loop {
            outlet.set_heard(!self.is_deaf.load(SeqCst));
            while let Some(payload) = outlet.next() {
                let text = String::from_utf8(payload).unwrap();
                self.got.lock().unwrap().push(text);
                self.taken.fetch_add(1, SeqCst);
            }
            if !self.is_stuck.load(SeqCst) {
                outlet.set_delivered(self.taken());
            }
            if woken.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
    }
}

/// Subscriptions, the thread, and an application.
pub struct Rig {
    pub ear: Arc<Ear>,
    pub metrics: Arc<Metrics>,
    pub stop: Interrupter,
    subscriptions: Arc<Subscriptions>,
    changes: Sender<Changed>,
    settings: Arc<Store>,
    health: Arc<Health>,
    brokers: Vec<String>,
    opts: Vec<(String, Secret)>,
    dir: TempDir,
    threads: Vec<JoinHandle<()>>,
}

fn with_brokers(brokers: &[String]) -> Settings {
    let mut settings = Settings::default();
    settings.infra.kafka_brokers = brokers.to_vec();
    settings
}

impl Rig {
    /// For mock brokers. Nothing runs yet.
    pub fn new(brokers: &[String]) -> Self {
        Self::with_options(brokers, &OPTIONS)
    }

    /// With these of CIM_KAFKA_OPTS.
    pub fn with_options(brokers: &[String], opts: &[(&str, &str)]) -> Self {
        let opt = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
        let dir = tempfile::tempdir().unwrap();
        let (subscriptions, problem) = Subscriptions::open(dir.path().join("subscriptions.json"));
        assert!(problem.is_none());
        Self {
            ear: Arc::default(),
            metrics: Arc::new(Metrics::new("cnf-0").unwrap()),
            stop: interrupt().0,
            subscriptions: Arc::new(subscriptions),
            changes: bounded(1).0,
            settings: Arc::new(Store::new(with_brokers(brokers))),
            health: Arc::new(Health::new()),
            brokers: brokers.to_vec(),
            opts: opts.iter().map(opt).collect(),
            dir,
            threads: Vec::new(),
        }
    }

    /// Starts the thread, as a new process would.
    pub fn start(&mut self) {
        let path = self.dir.path().join("subscriptions.json");
        self.subscriptions = Arc::new(Subscriptions::open(path).0);
        let names = Names {
            pod: Some("cnf-0".to_owned()),
            namespace: Some("ns1".to_owned()),
            ..Names::default()
        };
        let (identity, _) = Identity::resolve(&names, &Host::default());
        let (stop, interrupt) = interrupt();
        let (changes, changes_in) = bounded(8);
        let (wake, woken) = bounded(1);
        let (notifier, outlet) = notifications(BYTES_MAX, move || {
            let _ = wake.try_send(());
        });
        let consumer = KafkaConsumer {
            notifier,
            subscriptions: Arc::clone(&self.subscriptions),
            changes: changes_in,
            interrupt,
            settings: Arc::clone(&self.settings),
            identity: Arc::new(Current::new(identity, true)),
            kafka: KafkaOptions {
                compression: Compression::None,
                opts: self.opts.clone(),
            },
            health: Arc::clone(&self.health),
            metrics: Arc::clone(&self.metrics),
        };
        (self.stop, self.changes) = (stop, changes);
        let ear = Arc::clone(&self.ear);
        self.threads = vec![
            consumer.spawn(&bounded(NOTICES).0).unwrap(),
            std::thread::spawn(move || ear.listen(&outlet, &woken)),
        ];
    }

    /// Stops the thread and waits for its end.
    pub fn stop(&mut self) {
        self.stop.stop();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }

    pub fn bytes_max(&self) -> usize {
        BYTES_MAX
    }

    /// Adds a subscription.
    pub fn subscribe(&self, body: &str) {
        self.subscriptions
            .add(Filter::parse(body.as_bytes()).unwrap())
            .unwrap();
    }

    /// Adds a subscription while the thread runs, and waits for the answer to it.
    #[track_caller]
    pub fn answered(&self, body: &str, limit: Duration) {
        self.subscribe(body);
        let (replier, Answer::Later(answer)) = later(&Wake::new(|| {})) else {
            panic!("not a promise");
        };
        let answer_to = Some((replier, Response::json(200, &"x")));
        self.changes.send(Changed { answer: answer_to }).unwrap();
        assert_eq!(answer.recv_timeout(limit).unwrap().status, 200);
    }

    /// Removes all subscriptions.
    pub fn unsubscribe(&self) {
        for id in self.subscriptions.all().keys() {
            self.subscriptions.remove(id).unwrap();
        }
        self.changes.send(Changed { answer: None }).unwrap();
    }

    /// Other brokers are configured.
    pub fn brokers(&mut self, brokers: &[String]) {
        self.brokers = brokers.to_vec();
        self.settings.replace(with_brokers(brokers));
        self.stop.wake();
    }

    /// What the application has got, in order.
    pub fn got(&self) -> Vec<String> {
        self.ear.got.lock().unwrap().clone()
    }

    /// Waits until nothing has come for a while.
    pub fn quiet(&self) {
        settled(PATIENCE, Duration::from_millis(700), || self.got().len());
    }

    pub fn position(&self) -> Position {
        let era = self.subscriptions.era().unwrap();
        self.subscriptions.position(era).unwrap()
    }

    pub fn state(&self) -> (State, String) {
        let parts = self.health.report().parts;
        let part = parts.into_iter().find(|p| p.part == Part::Notifications);
        let part = part.unwrap();
        (part.state, part.reason)
    }

    /// Waits until partitions are read.
    #[track_caller]
    pub fn ready(&self) {
        let mut last = self.state();
        let limit = std::time::Instant::now() + PATIENCE;
        while last.0 != State::Ready {
            assert!(std::time::Instant::now() < limit, "{last:?}");
            std::thread::sleep(crate::support::LOOK);
            last = self.state();
        }
    }

    /// What the group has committed, by partition.
    pub fn committed(&self) -> Vec<(i32, i64)> {
        self.committed_at(&self.brokers)
    }

    /// See [`Self::committed`].
    pub fn committed_at(&self, brokers: &[String]) -> Vec<(i32, i64)> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers.join(","))
            .set("group.id", "cnf-0")
            .create()
            .unwrap();
        let metadata = client.fetch_metadata(Some(TOPIC), PATIENCE).unwrap();
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition(TOPIC, partition.id());
        }
        let list = client.committed_offsets(list, PATIENCE).unwrap();
        let all = list.elements();
        let all = all.iter().filter_map(|found| match found.offset() {
            Offset::Offset(offset) => Some((found.partition(), offset)),
            _ => None,
        });
        all.collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Writes one record with headers whose names may be any bytes, which no client library would: a Produce request, version 3, to partition 0.
pub fn produce_raw(broker: &str, headers: &[(&[u8], &[u8])], value: &[u8]) {
    let varint = |out: &mut Vec<u8>, n: i64| {
        let mut rest = ((n << 1) ^ (n >> 63)) as u64;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    };
    let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
        varint(out, bytes.len() as i64);
        out.extend(bytes);
    };
    // Attributes, timestamp, offset, no key.
    let mut record = vec![0, 0, 0, 1];
    bytes(&mut record, value);
    varint(&mut record, headers.len() as i64);
    for (name, value) in headers {
        bytes(&mut record, name);
        bytes(&mut record, value);
    }
    // Attributes, offset of the last record, timestamps, producer, sequence, number of records.
    let mut batch = vec![0; 6];
    batch.extend([1_700_000_000_000i64.to_be_bytes(); 2].concat());
    batch.extend([0xff; 14]);
    batch.extend(1i32.to_be_bytes());
    bytes(&mut batch, &record);
    // Leader epoch, version, a checksum that nobody looks at.
    let mut set = vec![0; 4];
    set.push(2);
    set.extend([0; 4]);
    set.extend(&batch);
    let mut records = vec![0; 8];
    records.extend((set.len() as i32).to_be_bytes());
    records.extend(set);

    let mut request = vec![0, 0, 0, 3, 0, 0, 0, 1, 0, 1, b'x'];
    // No transaction, all replicas, 5 s, one topic, one partition.
    request.extend([0xff, 0xff, 0xff, 0xff]);
    request.extend(5000i32.to_be_bytes());
    request.extend(1i32.to_be_bytes());
    request.extend((TOPIC.len() as i16).to_be_bytes());
    request.extend(TOPIC.as_bytes());
    request.extend(1i32.to_be_bytes());
    request.extend(0i32.to_be_bytes());
    request.extend((records.len() as i32).to_be_bytes());
    request.extend(records);

    let mut stream = TcpStream::connect(broker).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = (request.len() as i32).to_be_bytes();
    stream.write_all(&[&length[..], &request].concat()).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
}
