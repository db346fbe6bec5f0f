//! etcd (reachable, who CIM is there, what it may read and put) and Kafka (brokers, topics).

use std::collections::BTreeSet;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::{Known, Out};
use crate::chain::chain;
use crate::change_set::memory::Own;
use crate::etcd::{Client, Compare, Condition, Config, EtcdError, Operation, Range, Timeouts, Txn};
use crate::events::record::TOPIC;
use crate::kafka::{Cluster, FMAASEVENTS, LOGS, Pace, Producer, ProducerConfig};
use crate::limits::{DOCTOR_CONNECT_TIME, DOCTOR_KAFKA_TIME};
use crate::settings::LoggingMode;
use crate::surroundings::NotKnown;

/// The first minor version of etcd 3 whose gateway CIM speaks to.
const ETCD_MINOR: u32 = 4;

pub(super) fn etcd(known: &Known, out: &Out) {
    known.wait();
    let surroundings = &known.surroundings;
    let config = match surroundings.etcd() {
        Ok(config) => config,
        Err(error) if surroundings.options.standalone => {
            return out.ok(format!("not used: {error}"));
        }
        Err(error) => {
            return out.warning(
                format!("{error}: CIM delivers no change sets"),
                "set CIM_ETCD_URL, or etcd_url in common-infra.json",
            );
        }
    };
    let config = Config {
        timeouts: Timeouts {
            connect: DOCTOR_CONNECT_TIME,
            call: DOCTOR_CONNECT_TIME,
            ..config.timeouts
        },
        ..config
    };
    if !members(&config, out) {
        return;
    }
    let user = config.user.as_ref().map(|(name, _)| name.clone());
    match surroundings.own() {
        Ok(own) => match Client::new(config) {
            Ok(mut client) => access(&mut client, &own, user.as_deref(), out),
            Err(error) => refused(&error, user.as_deref(), "", out),
        },
        Err(error @ NotKnown::Pod) => out.failed(error.to_string(), "see the line Kubernetes"),
        Err(error) => out.failed(
            error.to_string(),
            "give the pod the label microSvcName, or set CIM_MICROSERVICE",
        ),
    }
}

/// Each member by itself, without a user; whether one of them works.
fn members(config: &Config, out: &Out) -> bool {
    let (mut good, mut bad, mut clusters) = (Vec::new(), Vec::new(), BTreeSet::new());
    for endpoint in &config.endpoints {
        let alone = Config {
            endpoints: vec![endpoint.clone()],
            user: None,
            ..config.clone()
        };
        match Client::new(alone).and_then(|mut client| client.status()) {
            Ok(status) if is_old(&status.version) => bad.push((
                format!("{endpoint}: etcd {} is too old", status.version),
                "use etcd 3.4 or newer",
            )),
            Ok(status) if status.leader == 0 => bad.push((
                format!("{endpoint}: etcd {} has no leader", status.version),
                "start enough members of the cluster: more than half of them are needed",
            )),
            Ok(status) => {
                clusters.insert(status.header.cluster_id);
                good.push(format!("{endpoint}: etcd {}", status.version));
            }
            // It answers; who CIM is comes next.
            Err(EtcdError::Unauthenticated { .. } | EtcdError::Refused { .. }) => {
                good.push(format!(
                    "{endpoint}: etcd, which tells its version to users alone"
                ));
            }
            Err(error) => bad.push((chain(&error), advice(&error))),
        }
    }
    let works = !good.is_empty();
    good.into_iter().for_each(|text| out.ok(text));
    for (text, to_do) in bad {
        match works {
            true => out.warning(text, to_do),
            false => out.failed(text, to_do),
        }
    }
    if clusters.len() > 1 {
        out.failed(
            "the endpoints belong to different clusters",
            "name members of one cluster in CIM_ETCD_URL",
        );
    }
    works
}

/// `3.3.27` and older. What is no version is none that is too old.
fn is_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (3, ETCD_MINOR),
        _ => false,
    }
}

fn advice(error: &EtcdError) -> &'static str {
    match error {
        EtcdError::Config(_) => "put the settings CIM_ETCD_* right",
        EtcdError::Unreachable { .. } | EtcdError::TimedOut { .. } => {
            "start etcd, or put CIM_ETCD_URL right; with TLS look at CIM_ETCD_CA_FILE, and at network policies"
        }
        EtcdError::NotEtcd { .. } | EtcdError::Malformed { .. } => {
            "name the client port of etcd in CIM_ETCD_URL, and let etcd serve its gateway (--enable-grpc-gateway)"
        }
        _ => "look at the log of etcd",
    }
}

/// Reads what CIM reads. What it puts is tried by a transaction whose condition never holds: etcd looks at the rights first.
fn access(client: &mut Client, own: &Own, user: Option<&str>, out: &Out) {
    let who = user.map_or_else(
        || "without a user".to_owned(),
        |user| format!("as user {user:?}"),
    );
    let prefix = own.prefix();
    let read = client.range(&Range {
        limit: 1,
        keys_only: true,
        ..Range::prefix(prefix.as_str())
    });
    match read {
        Ok(answer) => out.ok(format!(
            "{who}: reads {prefix} (keys there: {})",
            answer.count
        )),
        Err(error) => return refused(&error, user, &format!("read of {prefix}"), out),
    }
    let [memory, commits @ ..] = own.keys();
    let mut may_put = |keys: &[String]| {
        let put = |key: &String| Operation::Put {
            key: key.as_str().into(),
            value: Vec::new(),
        };
        client.txn(&Txn {
            compare: vec![Compare {
                key: prefix.as_str().into(),
                // etcd counts its revisions from 1 on.
                is: Condition::ModRevision(i64::MAX),
            }],
            success: keys.iter().map(put).collect(),
            failure: Vec::new(),
        })
    };
    match may_put(&commits) {
        Ok(_) => out.ok(format!(
            "{who}: may put the outcomes of change sets (commit-config/)"
        )),
        Err(error) => {
            let what = format!(
                "readwrite of commit-config/{}/{}/",
                own.namespace, own.microservice
            );
            return refused(&error, user, &what, out);
        }
    }
    match may_put(&[memory]) {
        Ok(_) => {}
        Err(error) if error.is_permission() => out.warning(
            format!("{who}: may not put CIM's position: a change set may be delivered again after CIM was killed"),
            format!(
                "give this user readwrite of cim-position/{}/{}/",
                own.namespace, own.microservice
            ),
        ),
        Err(error) => refused(&error, user, "", out),
    }
}

fn refused(error: &EtcdError, user: Option<&str>, right: &str, out: &Out) {
    let text = chain(error);
    match (error, user) {
        (EtcdError::Unauthenticated { .. }, None) => out.failed(
            text,
            "etcd wants a user: set CIM_ETCD_USER and CIM_ETCD_PASSWORD_FILE",
        ),
        (EtcdError::Unauthenticated { .. }, Some(_)) => out.failed(
            text,
            "put CIM_ETCD_USER and the password in CIM_ETCD_PASSWORD_FILE right",
        ),
        (error, Some(user)) if error.is_permission() => {
            out.failed(
                text,
                format!("give a role of user {user:?} the permission {right}"),
            );
        }
        (error, None) if error.is_permission() => {
            out.failed(
                text,
                format!("set CIM_ETCD_USER to a user with the permission {right}"),
            );
        }
        _ => out.failed(text, advice(error)),
    }
}

pub(super) fn kafka(known: &Known, out: &Out) {
    known.wait();
    let surroundings = &known.surroundings;
    let settings = surroundings.settings.load();
    let brokers = &settings.infra.kafka_brokers;
    let logs = settings.cim.lmaas.logging_mode == LoggingMode::Kafka;
    if brokers.is_empty() {
        const ADDRESS: &str = "set CIM_KAFKA_BROKERS, or kafka_brokers in common-infra.json";
        let text = "no brokers are named: events go to a file, notifications do not come";
        return match (logs, surroundings.options.standalone) {
            (true, _) => out.failed(format!("{text}; logging_mode is KAFKA"), ADDRESS),
            (false, true) => out.ok(format!("not used: {text}")),
            (false, false) => out.warning(text, ADDRESS),
        };
    }
    let config = ProducerConfig::for_events(
        brokers,
        settings.cim.cim_settings.kafka_client_id.as_deref(),
        &surroundings.options.kafka,
        Pace::Careful,
    );
    let producer = match Producer::new(&config) {
        Ok(producer) => producer,
        Err(error) => return out.failed(chain(&error), "put CIM_KAFKA_OPTS right"),
    };
    let looked = producer.look(&[TOPIC, LOGS, FMAASEVENTS], DOCTOR_KAFKA_TIME);
    // It may hang in a name that is looked up.
    producer.abandon();
    match looked {
        Ok(cluster) => {
            reach(&cluster, out);
            topics(&cluster, logs, out);
        }
        Err(reason) => out.failed(
            format!("no broker of {} answers within {} s: {reason}", brokers.join(","), DOCTOR_KAFKA_TIME.as_secs()),
            "start Kafka, or put CIM_KAFKA_BROKERS right; where it wants TLS or SASL, CIM_KAFKA_OPTS",
        ),
    }
}

/// The addresses that the brokers give themselves: producers go there, wherever they began.
fn reach(cluster: &Cluster, out: &Out) {
    let until = Instant::now() + DOCTOR_CONNECT_TIME;
    let mut good = Vec::new();
    for (host, port) in &cluster.brokers {
        let shown = format!("{host}:{port}");
        match connect(&shown, until.saturating_duration_since(Instant::now())) {
            Ok(()) => good.push(shown),
            Err(error) => out.failed(
                format!("the broker that calls itself {shown} cannot be reached: {error}"),
                "let the broker name an address that pods reach (advertised.listeners), or look at network policies",
            ),
        }
    }
    if !good.is_empty() {
        out.ok(format!("brokers: {}", good.join(", ")));
    }
}

fn topics(cluster: &Cluster, logs: bool, out: &Out) {
    let mut wanted = vec![(TOPIC, "events wait in the journal")];
    if logs {
        wanted.push((LOGS, "log lines go to files"));
    }
    wanted.push((FMAASEVENTS, "event subscriptions get nothing"));
    let (there, missing): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|(topic, _)| cluster.topics.iter().any(|found| found == topic));
    for (topic, without) in missing {
        out.warning(
            format!("no topic {topic}, or no right to see it: {without}"),
            "make it, unless the brokers make topics by themselves (auto.create.topics.enable)",
        );
    }
    if !there.is_empty() {
        let names: Vec<_> = there.into_iter().map(|(topic, _)| topic).collect();
        out.ok(format!("topics: {}", names.join(", ")));
    }
}

/// A TCP connection to `host:port`, closed at once.
pub(super) fn connect(address: &str, time: Duration) -> std::io::Result<()> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    let time = time.max(Duration::from_millis(100));
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, time) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_before_3_4_is_too_old() {
        for (version, old) in [
            ("3.3.27", true),
            ("2.3.8", true),
            ("3.4.30", false),
            ("3.10.0", false),
            ("4.0.0-rc.1", false),
            ("", false),
            ("newest", false),
        ] {
            assert_eq!(is_old(version), old, "{version}");
        }
    }
}
