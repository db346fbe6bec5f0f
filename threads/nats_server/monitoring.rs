//! Answers the questions of the monitoring pages.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::http::Response;
use crate::metrics::ProcessUsage;
use crate::nats::monitor::{
    Asked, Closed, ConnInfo, Connz, ConnzQuery, Page, Question, Questions, Subsz, SubszQuery, Varz,
};
use crate::nats::{ClientId, CloseReason, subject};

use super::Loop;
use super::connection::Connection;

/// Time after which a client must be able to answer a PING, although it has not asked for a PONG itself (nats-server).
const ABLE_TO_ANSWER: Duration = Duration::from_secs(2);

pub(super) struct Monitoring {
    questions: Questions,
    address: Option<SocketAddr>,
    asked: Asked,
    closed: Closed,
    started: SystemTime,
    started_at: Instant,
}

impl Monitoring {
    pub(super) fn new(questions: Questions, address: Option<SocketAddr>, now: Instant) -> Self {
        Self {
            questions,
            address,
            asked: Asked::default(),
            closed: Closed::default(),
            started: SystemTime::now(),
            started_at: now,
        }
    }

    /// The wall clock at a moment since the start; it does not jump with the clock.
    fn wall(&self, at: Instant) -> SystemTime {
        self.started + at.saturating_duration_since(self.started_at)
    }
}

impl Loop {
    pub(super) fn answer_questions(&mut self) {
        while let Ok(Question { page, reply }) = self.monitoring.questions.try_recv() {
            self.monitoring.asked.count(&page);
            if matches!(page, Page::Connz(_)) {
                self.measure_round_trips();
            }
            let response = match page {
                Page::Varz => Response::json(200, &self.varz().page()),
                Page::Connz(query) => Response::json(200, &self.connz(&query)),
                Page::Subsz(query) => Response::json(200, &self.subsz(&query)),
            };
            reply.send(response);
        }
    }

    /// Sends a PING to those who have not answered one yet: the next answer will tell how long it takes.
    fn measure_round_trips(&mut self) {
        let now = self.now;
        for (id, connection) in self.connections.iter_mut().enumerate() {
            let Some(connection) = connection else {
                continue;
            };
            let Some(client) = self.broker.client(id).filter(|client| client.authorised) else {
                continue;
            };
            let publisher = &mut connection.publisher;
            let is_named = client
                .connect
                .lang
                .as_ref()
                .is_some_and(|lang| !lang.is_empty());
            let is_new = publisher.round_trip.is_none() && publisher.pings_outstanding == 0;
            if is_named && is_new && now >= connection.ready_since + ABLE_TO_ANSWER {
                publisher.pinged(now);
                self.broker.ping(id);
            }
        }
        self.flush();
        self.close_marked();
    }

    /// What is known of a connection.
    fn conn_info(&self, id: ClientId, connection: &Connection) -> Option<ConnInfo> {
        let client = self.broker.client(id)?;
        let connect = &client.connect;
        Some(ConnInfo {
            cid: client.number,
            ip: connection.peer.ip().to_string(),
            port: connection.peer.port(),
            start: self.monitoring.wall(connection.opened),
            last_activity: self.monitoring.wall(connection.last_in),
            stop: None,
            round_trip: connection.publisher.round_trip,
            pending_bytes: self.broker.outbound(id).map_or(0, |out| out.len()),
            in_msgs: client.stats.in_messages,
            out_msgs: client.stats.out_messages,
            in_bytes: client.stats.in_bytes,
            out_bytes: client.stats.out_bytes,
            name: connect.name.clone(),
            lang: connect.lang.clone(),
            version: connect.version.clone(),
            tls: connection.transport.label(),
            user: client.user.clone(),
            subscriptions: self.broker.subscriptions_of(id).collect(),
        })
    }

    /// Keeps what there is to know of a connection that is being closed.
    pub(super) fn remember(&mut self, id: ClientId, connection: &Connection, reason: &'static str) {
        if let Some(mut info) = self.conn_info(id, connection) {
            info.stop = Some((self.monitoring.wall(self.now), reason));
            self.monitoring.closed.add(info);
        }
    }

    fn connz(&self, query: &ConnzQuery) -> Connz {
        let open = self.connections.iter().enumerate();
        let open = open.filter_map(|(id, connection)| self.conn_info(id, connection.as_ref()?));
        let all = open.chain(self.monitoring.closed.iter().cloned());
        let now = self.monitoring.wall(self.now);
        Connz::new(self.broker.info().server_id.clone(), now, query, all)
    }

    fn subsz(&self, query: &SubszQuery) -> Subsz {
        let mut all = Vec::new();
        if query.subs || query.test.is_some() {
            all.extend(self.broker.subscriptions());
        }
        if let Some(test) = &query.test {
            all.retain(|sub| subject::matches(sub.subject.as_bytes(), test.as_bytes()));
        }
        let now = self.monitoring.wall(self.now);
        let stats = self.broker.sublist_stats();
        Subsz::new(self.broker.info().server_id.clone(), now, query, stats, all)
    }

    fn varz(&self) -> Varz {
        let info = self.broker.info();
        let (limits, metrics) = (&self.limits, &self.metrics);
        let now = self.monitoring.wall(self.now);
        let http = self.monitoring.address;
        let stale = CloseReason::StaleConnection.as_str();
        let stale = metrics.nats_closed.with_label_values(&[stale]);
        let usage = ProcessUsage::read().unwrap_or_default();
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Varz {
            server_id: info.server_id.clone(),
            server_name: info.server_name.clone(),
            version: info.version,
            proto: info.proto,
            go: info.go,
            host: info.host.clone(),
            port: info.port,
            auth_required: info.auth_required,
            tls_required: info.tls_required,
            tls_verify: info.tls_verify,
            tls_timeout: self.tls_timeout().as_secs_f64(),
            max_connections: limits.connections,
            max_subscriptions: limits.client_subscriptions,
            ping_interval: nanos(limits.ping_interval),
            ping_max: limits.pings_outstanding,
            auth_timeout: limits.connect_timeout.as_secs_f64(),
            max_control_line: limits.control_line_bytes,
            max_payload: limits.payload_bytes,
            max_pending: limits.client_pending_bytes,
            write_deadline: nanos(limits.write_deadline),
            mem: usage.resident_bytes,
            cores: usage.cores,
            gomaxprocs: usage.cores,
            cpu: usage.cpu_percent,
            connections: self.connections.iter().flatten().count(),
            total_connections: metrics.nats_connections_total.get(),
            in_msgs: metrics.nats_in_messages.get(),
            out_msgs: metrics.nats_out_messages.get(),
            in_bytes: metrics.nats_in_bytes.get(),
            out_bytes: metrics.nats_out_bytes.get(),
            http_host: http.map(|http| http.ip().to_string()).unwrap_or_default(),
            http_port: http.map_or(0, |http| http.port()),
            http_req_stats: self.monitoring.asked,
            stale_connections: stale.get(),
            slow_consumers: metrics.nats_slow_consumers.get(),
            subscriptions: self.broker.subscription_count(),
            ..Varz::at(self.monitoring.started, now)
        }
    }
}
