//! From the remote sink that the settings name to one that works.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use super::kafka::{BatchBytes, KafkaLogs};
use super::tail::Legacy;
use super::tcp::TcpSink;
use super::wanted::Wanted;
use super::{Remote, RemoteError};
use crate::chain::chain;
use crate::kafka::{Pace, ProducerConfig};
use crate::kube::Command;
use crate::limits::{KAFKA_BATCH_BYTES, LOCAL_COLLECTOR_TIME};
use crate::logs::throttle::Throttle;
use crate::resolver::CachingResolver;
use crate::settings::address::host_port;
use crate::surroundings::Surroundings;

/// Knows how sinks are made. Everything here may take seconds.
pub struct Connector {
    surroundings: Surroundings,
    /// Where Kubernetes is asked for the node's own collector; `None` without Kubernetes.
    kubernetes: Option<Sender<Command>>,
    resolver: CachingResolver,
    batch_bytes: BatchBytes,
    legacy: Legacy,
    told: Throttle,
}

impl Connector {
    /// `kubernetes`: to its thread.
    pub fn new(surroundings: Surroundings, kubernetes: Option<Sender<Command>>) -> Self {
        Self {
            surroundings,
            kubernetes,
            resolver: CachingResolver::default(),
            batch_bytes: BatchBytes::default(),
            legacy: Legacy::default(),
            told: Throttle::default(),
        }
    }

    /// Connects to the sink.
    ///
    /// # Errors
    /// It has no address, or does not answer.
    pub fn connect(&mut self, wanted: &Wanted) -> Result<Box<dyn Remote + Send>, RemoteError> {
        match wanted {
            Wanted::Tcp {
                service,
                local_port,
            } => {
                let local = local_port.as_deref().and_then(|port| self.local(port));
                let address = local.as_deref().or(service.as_deref());
                let address = address.ok_or(RemoteError::NoAddress("logging_svc_url"))?;
                let sink = TcpSink::connect(&self.resolver, address, &self.legacy)?;
                Ok(Box::new(sink))
            }
            Wanted::Kafka { brokers, client_id } => {
                if brokers.is_empty() {
                    return Err(RemoteError::NoAddress("kafka_brokers"));
                }
                let config = ProducerConfig::for_events(
                    brokers,
                    client_id.as_deref(),
                    &self.surroundings.options.kafka,
                    Pace::Batches {
                        bytes: KAFKA_BATCH_BYTES,
                    },
                );
                let pod = self.surroundings.identity.load().pod.clone();
                let sink = KafkaLogs::connect(config, &pod, self.batch_bytes.clone())?;
                Ok(Box::new(sink))
            }
        }
    }

    /// The collector of this node; without one the service is used.
    fn local(&mut self, port: &str) -> Option<String> {
        let found = self.ask_kubernetes();
        match found {
            Ok(ip) => Some(host_port(ip, port)),
            Err(reason) => {
                if let Some(before) = self.told.pass(Instant::now()) {
                    log::warn!(
                        "no log collector on this node ({reason}): logging_svc_url is used ({before} lines about this left out)"
                    );
                }
                None
            }
        }
    }

    fn ask_kubernetes(&self) -> Result<IpAddr, String> {
        let to = self.kubernetes.as_ref().ok_or("there is no Kubernetes")?;
        let (reply, answer) = bounded(1);
        let command = Command::LocalCollector {
            time: LOCAL_COLLECTOR_TIME,
            reply,
        };
        let asked = to.send_timeout(command, LOCAL_COLLECTOR_TIME);
        asked.map_err(|_| "CIM has too much to ask of Kubernetes")?;
        match answer.recv_timeout(LOCAL_COLLECTOR_TIME + Duration::from_secs(1)) {
            Ok(Ok(Some(ip))) => Ok(ip),
            Ok(Ok(None)) => Err("no pod labelled k8s-app=fluent-bit is ready there".to_owned()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err("Kubernetes does not answer".to_owned()),
        }
    }
}
