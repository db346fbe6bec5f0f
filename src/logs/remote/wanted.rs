//! Which remote sink the settings name.

use std::fmt;

use crate::settings::{LoggingMode, Settings};

/// A remote sink, as the settings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A TCP collector.
    Tcp {
        /// `logging_svc_url`.
        service: Option<String>,
        /// `logging_svc_tcp_port`, with `prefer_local_daemonset`.
        local_port: Option<String>,
    },
    /// Kafka.
    Kafka {
        /// `kafka_brokers`.
        brokers: Vec<String>,
        /// `kafka_client_id`.
        client_id: Option<String>,
    },
}

impl Wanted {
    /// What `settings` name; `None`: the mode has no remote sink.
    pub fn of(settings: &Settings) -> Option<Self> {
        let (cim, infra) = (&settings.cim, &settings.infra);
        match cim.lmaas.logging_mode {
            LoggingMode::Tcp => {
                let port = infra.logging_svc_tcp_port.clone();
                Some(Self::Tcp {
                    service: infra.logging_svc_url.clone(),
                    local_port: port.filter(|_| cim.lmaas.prefer_local_daemonset),
                })
            }
            LoggingMode::Kafka => Some(Self::Kafka {
                brokers: infra.kafka_brokers.clone(),
                client_id: cim.cim_settings.kafka_client_id.clone(),
            }),
            LoggingMode::File | LoggingMode::Stdout | LoggingMode::FileAndStdout => None,
        }
    }

    /// The value of the label `sink`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Kafka { .. } => "kafka",
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp {
                service,
                local_port,
            } => {
                if let Some(port) = local_port {
                    write!(f, "port {port} of the node's own collector, else ")?;
                }
                f.write_str(service.as_deref().unwrap_or("no address"))
            }
            Self::Kafka { brokers, .. } => f.write_str(&brokers.join(",")),
        }
    }
}
