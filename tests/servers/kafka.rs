//! A real Apache Kafka: one broker in KRaft mode, its own controller, on free ports and with its data in a directory of its own.
//! Its jars are where tests/tools.sh puts them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use super::kafka_reader::Reader;
use super::process::{Process, is_a_process};
use super::{free_port, loopback};
use crate::support::eventually;

/// The version that tests use, and the last one of the line before it.
pub const KAFKA_4: &str = "4.1.0";
pub const KAFKA_3: &str = "3.9.1";
/// Time for its start: two JVMs one after the other, on a busy machine.
const START_TIME: Duration = Duration::from_secs(120);
/// Tries with other ports when somebody else takes one of them.
const TRIES: usize = 3;
/// A cluster's id is a UUID in URL-safe base64.
const CLUSTER: &str = "Y2ltLXRlc3RzLWthZmthLQ";

/// How Kafka is started.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    pub version: &'static str,
    /// Of a topic that somebody uses for the first time.
    pub partitions: u32,
    /// Further lines of server.properties.
    pub properties: Vec<String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            version: KAFKA_4,
            partitions: 1,
            properties: Vec::new(),
        }
    }
}

/// A running broker; killed with its owner.
pub struct Kafka {
    process: Process,
    options: KafkaOptions,
    dir: TempDir,
    client: u16,
    controller: u16,
}

is_a_process!(Kafka);

impl Kafka {
    /// Starts Kafka and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(KafkaOptions::default())
    }

    /// As [`Kafka::start`], with options.
    pub fn start_with(options: KafkaOptions) -> Self {
        for _ in 0..TRIES {
            let dir = tempfile::Builder::new().prefix("cim-kafka-").tempdir();
            let dir = dir.unwrap();
            let mut kafka = Self {
                process: Process::new("Kafka", dir.path().join("log")),
                options: options.clone(),
                dir,
                client: free_port(),
                controller: free_port(),
            };
            kafka.format();
            kafka.spawn();
            if kafka.answers() {
                return kafka;
            }
        }
        panic!("Kafka did not start {TRIES} times");
    }

    /// Where clients connect: `127.0.0.1:port`.
    pub fn brokers(&self) -> String {
        loopback(self.client).to_string()
    }

    /// Reads a topic from its beginning; the topic need not exist yet.
    pub fn reader(&self, topic: &str) -> Reader {
        Reader::new(&self.brokers(), topic, self.options.partitions)
    }

    /// Starts it again after [`Kafka::kill`] or [`Kafka::stop`]: same ports, same data. Waits until it answers.
    pub fn restart(&mut self) {
        self.begin_restart();
        assert!(self.answers(), "Kafka did not start again");
    }

    /// As [`Kafka::restart`], without the wait.
    pub fn begin_restart(&mut self) {
        self.spawn();
    }

    /// Makes the data directory.
    fn format(&self) {
        fs::write(self.file("server.properties"), self.properties()).unwrap();
        let mut command = self.java("kafka.tools.StorageTool");
        let output = command
            .args(["format", "--cluster-id", CLUSTER, "--config"])
            .arg(self.file("server.properties"))
            .output();
        let output = output.unwrap_or_else(|error| {
            panic!("java is missing ({error}): `make integration-test` says how to get it, or goes without kafka")
        });
        assert!(output.status.success(), "{output:?}");
    }

    fn properties(&self) -> String {
        let (client, controller) = (loopback(self.client), loopback(self.controller));
        let mut properties = vec![
            "process.roles=broker,controller".to_owned(),
            "node.id=1".to_owned(),
            format!("controller.quorum.voters=1@{controller}"),
            format!("listeners=PLAINTEXT://{client},CONTROLLER://{controller}"),
            format!("advertised.listeners=PLAINTEXT://{client}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            format!("log.dirs={}", self.file("data").display()),
            format!("num.partitions={}", self.options.partitions),
            // One broker has all replicas there are.
            "offsets.topic.replication.factor=1".to_owned(),
            "offsets.topic.num.partitions=1".to_owned(),
            "transaction.state.log.replication.factor=1".to_owned(),
            "transaction.state.log.min.isr=1".to_owned(),
            "transaction.state.log.num.partitions=1".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            // So long it is not let in again after a kill.
            "broker.session.timeout.ms=2000".to_owned(),
            "broker.heartbeat.interval.ms=500".to_owned(),
            // As few threads as do.
            "num.network.threads=1".to_owned(),
            "num.io.threads=2".to_owned(),
            "background.threads=1".to_owned(),
            "log.cleaner.enable=false".to_owned(),
        ];
        properties.extend(self.options.properties.iter().cloned());
        properties.join("\n")
    }

    fn spawn(&mut self) {
        let mut command = self.java("kafka.Kafka");
        command.arg(self.file("server.properties"));
        self.process.start(&mut command);
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .args(["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC"])
            // It lives for seconds: the better compiler does not pay.
            .arg("-XX:TieredStopAtLevel=1")
            // To standard error, which a failed test shows.
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-cp")
            .arg(jars(self.options.version).join("*"))
            .arg(class);
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until it answers; false when it ends instead.
    fn answers(&mut self) -> bool {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        // Refused connections are tried again at once.
        config.set("reconnect.backoff.max.ms", "100");
        let client: BaseConsumer = config.create().unwrap();
        let mut ended = false;
        eventually(START_TIME, || {
            ended = self.process.has_ended();
            let metadata = client.fetch_metadata(None, Duration::from_millis(500));
            ended || metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
        });
        !ended
    }
}

/// The folder with the jars of a version.
fn jars(version: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let jars = target.join("tools").join(format!("kafka-{version}"));
    assert!(
        jars.is_dir(),
        "{} is missing: `make integration-test` gets it, or goes without kafka",
        jars.display()
    );
    jars
}
