//! `/connz`.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::query::{ConnState, ConnzQuery, Show, Sort};
use super::subsz::SubInfo;
use super::{duration, time, uptime};
use crate::limits::{CLOSED_CONNECTION_BYTES, CLOSED_CONNECTIONS};
use crate::nats::subject;

/// One connection.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ConnInfo {
    pub cid: u64,
    pub ip: String,
    pub port: u16,
    pub start: SystemTime,
    pub last_activity: SystemTime,
    /// When it was closed, and why.
    pub stop: Option<(SystemTime, &'static str)>,
    /// Time from a PING to its PONG, once that is known.
    pub round_trip: Option<Duration>,
    pub pending_bytes: usize,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub name: Option<String>,
    pub lang: Option<String>,
    pub version: Option<String>,
    /// Version and cipher suite.
    pub tls: Option<(String, String)>,
    pub user: Option<String>,
    pub subscriptions: Vec<SubInfo>,
}

/// The last connections that are closed.
#[derive(Debug, Default)]
pub struct Closed(VecDeque<ConnInfo>);

impl Closed {
    /// Adds one; the oldest goes when there are too many. Of its subscriptions only some are kept.
    pub fn add(&mut self, mut connection: ConnInfo) {
        let mut bytes = 0;
        connection.subscriptions.retain(|sub| {
            bytes += sub.subject.len() + sub.queue.len() + sub.sid.len();
            bytes <= CLOSED_CONNECTION_BYTES
        });
        connection.subscriptions.shrink_to_fit();
        if self.0.len() >= CLOSED_CONNECTIONS {
            self.0.pop_front();
        }
        self.0.push_back(connection);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConnInfo> {
        self.0.iter()
    }
}

/// One connection, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    cid: u64,
    kind: &'static str,
    #[serde(rename = "type")]
    of: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cipher_suite: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_user: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubInfo>,
}

/// `/connz`.
#[derive(Debug, Serialize)]
pub struct Connz {
    server_id: String,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Vec<Row>,
}

impl ConnInfo {
    fn is_of(&self, state: ConnState) -> bool {
        match state {
            ConnState::Open => self.stop.is_none(),
            ConnState::Closed => self.stop.is_some(),
            ConnState::Any => true,
        }
    }

    /// To the microsecond, as nats-server has it, when it is less than a millisecond.
    fn round_trip(&self) -> Duration {
        let time = self.round_trip.unwrap_or_default();
        if (Duration::from_micros(1)..Duration::from_millis(1)).contains(&time) {
            Duration::from_micros(u64::from(time.subsec_micros()))
        } else {
            time
        }
    }

    fn end(&self, now: SystemTime) -> SystemTime {
        self.stop.map_or(now, |(at, _)| at)
    }

    fn is_wanted(&self, query: &ConnzQuery) -> bool {
        if query.cid != 0 {
            return self.cid == query.cid;
        }
        let by_user = |user: &String| self.user.as_ref() == Some(user);
        let by_subject = |subject: &String| {
            let takes =
                |sub: &SubInfo| subject::matches(sub.subject.as_bytes(), subject.as_bytes());
            self.subscriptions.iter().any(takes)
        };
        query.user.as_ref().is_none_or(by_user)
            && query.filter_subject.as_ref().is_none_or(by_subject)
    }

    fn row(self, query: &ConnzQuery, now: SystemTime) -> Row {
        let between = |from: SystemTime, to: SystemTime| {
            uptime(to.duration_since(from).unwrap_or(Duration::ZERO))
        };
        let end = self.end(now);
        let (number, round_trip) = (self.subscriptions.len(), self.round_trip());
        let (tls_version, tls_cipher_suite) = self.tls.unzip();
        let (list, detail) = match query.subs {
            Show::Number => (Vec::new(), Vec::new()),
            Show::Subjects => {
                let subjects = self.subscriptions.into_iter().map(|sub| sub.subject);
                (subjects.collect(), Vec::new())
            }
            Show::Detail => (Vec::new(), self.subscriptions),
        };
        Row {
            cid: self.cid,
            kind: "Client",
            of: "nats",
            ip: self.ip,
            port: self.port,
            start: time(self.start),
            last_activity: time(self.last_activity),
            stop: self.stop.map(|(at, _)| time(at)),
            reason: self.stop.map(|(_, reason)| reason),
            rtt: duration(round_trip),
            uptime: between(self.start, end),
            idle: between(self.last_activity, end),
            pending_bytes: self.pending_bytes,
            in_msgs: self.in_msgs,
            out_msgs: self.out_msgs,
            in_bytes: self.in_bytes,
            out_bytes: self.out_bytes,
            subscriptions: number,
            name: self.name.filter(|name| !name.is_empty()),
            lang: self.lang.filter(|lang| !lang.is_empty()),
            version: self.version.filter(|version| !version.is_empty()),
            tls_version,
            tls_cipher_suite,
            authorized_user: self.user.filter(|_| query.auth),
            subscriptions_list: list,
            subscriptions_list_detail: detail,
        }
    }
}

fn sort(connections: &mut [ConnInfo], by: Sort, now: SystemTime) {
    match by {
        Sort::Cid => connections.sort_by_key(|c| c.cid),
        Sort::Start => connections.sort_by_key(|c| c.start),
        Sort::Reason => connections.sort_by_key(|c| c.stop.map(|(_, reason)| reason)),
        Sort::Subs => connections.sort_by_key(|c| Reverse(c.subscriptions.len())),
        Sort::Pending => connections.sort_by_key(|c| Reverse(c.pending_bytes)),
        Sort::MsgsTo => connections.sort_by_key(|c| Reverse(c.out_msgs)),
        Sort::MsgsFrom => connections.sort_by_key(|c| Reverse(c.in_msgs)),
        Sort::BytesTo => connections.sort_by_key(|c| Reverse(c.out_bytes)),
        Sort::BytesFrom => connections.sort_by_key(|c| Reverse(c.in_bytes)),
        Sort::Last => connections.sort_by_key(|c| Reverse(c.last_activity)),
        Sort::Idle => connections.sort_by_key(|c| c.last_activity),
        // The youngest first, unlike all the others.
        Sort::Uptime => connections.sort_by_key(|c| c.end(now).duration_since(c.start).ok()),
        Sort::RoundTrip => connections.sort_by_key(|c| Reverse(c.round_trip)),
        Sort::Stop => connections.sort_by_key(|c| Reverse(c.stop.map(|(at, _)| at))),
    }
}

impl Connz {
    /// The page of these connections, the closed ones among them.
    pub fn new(
        server_id: String,
        now: SystemTime,
        query: &ConnzQuery,
        connections: impl Iterator<Item = ConnInfo>,
    ) -> Self {
        let mut wanted: Vec<_> = connections.filter(|c| c.is_of(query.state)).collect();
        // All that there are in this state, whichever are wanted of them.
        let total = wanted.len();
        wanted.retain(|connection| connection.is_wanted(query));
        sort(&mut wanted, query.sort, now);
        let shown = wanted.into_iter().skip(query.offset).take(query.limit);
        let connections: Vec<_> = shown.map(|c| c.row(query, now)).collect();
        Self {
            server_id,
            now: time(now),
            num_connections: connections.len(),
            total,
            offset: query.offset,
            limit: query.limit,
            connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn connection(cid: u64) -> ConnInfo {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * cid);
        ConnInfo {
            cid,
            ip: "127.0.0.1".into(),
            port: 1,
            start,
            last_activity: start + Duration::from_secs(60),
            stop: None,
            round_trip: Some(Duration::from_nanos(1_000_500 - cid)),
            pending_bytes: 0,
            in_msgs: 10 - cid,
            out_msgs: cid,
            in_bytes: 0,
            out_bytes: 0,
            name: Some("n".into()),
            lang: Some(String::new()),
            version: None,
            tls: None,
            user: (cid == 2).then(|| "u".into()),
            subscriptions: (0..cid)
                .map(|n| SubInfo {
                    subject: format!("a.{n}"),
                    queue: String::new(),
                    sid: n.to_string(),
                    msgs: 0,
                    max: 0,
                    cid,
                })
                .collect(),
        }
    }

    fn page(query: &str) -> Value {
        let mut closed = connection(4);
        closed.stop = Some((closed.start + Duration::from_secs(90), "Client Closed"));
        let all = [connection(2), connection(1), connection(3), closed];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let query = ConnzQuery::read(query).unwrap();
        json!(Connz::new("ID".into(), now, &query, all.into_iter()))
    }

    fn cids(page: &Value) -> Vec<u64> {
        let rows = page["connections"].as_array().unwrap();
        rows.iter()
            .map(|row| row["cid"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn connections_are_chosen_and_sorted() {
        for (query, expected) in [
            ("", &[1, 2, 3][..]),
            ("state=closed", &[4]),
            ("state=any&sort=msgs_from", &[1, 2, 3, 4]),
            ("sort=uptime", &[3, 2, 1]),
            ("sort=rtt", &[1, 2, 3]),
            ("sort=subs", &[3, 2, 1]),
            ("sort=msgs_to&limit=1&offset=1", &[2]),
            ("cid=4", &[]),
            ("cid=4&state=any", &[4]),
            ("cid=4&state=closed", &[4]),
            ("cid=9", &[]),
            ("user=u", &[2]),
            ("auth=1&user=u", &[2]),
            ("filter_subject=a.2", &[3]),
            ("sort=idle", &[1, 2, 3]),
            ("sort=last", &[3, 2, 1]),
        ] {
            assert_eq!(cids(&page(query)), expected, "{query}");
        }
        for (query, limit) in [("limit=1", 1), ("cid=2&limit=9", 1), ("user=u", 1024)] {
            let page = page(query);
            let numbers = ["num_connections", "total", "limit"].map(|name| &page[name]);
            assert_eq!(numbers, [&json!(1), &json!(3), &json!(limit)], "{query}");
        }
    }

    #[test]
    fn a_row_has_what_is_known_and_what_was_asked_for() {
        let page = page("cid=4&state=closed&subs=1");
        let row = &page["connections"][0];
        assert_eq!(row["uptime"], "1m30s");
        assert_eq!(row["idle"], "30s");
        assert_eq!(row["rtt"], "1.000496ms");
        assert_eq!(row["reason"], "Client Closed");
        assert_eq!(row["subscriptions_list"].as_array().unwrap().len(), 4);
        assert!(row["lang"].is_null() && row["authorized_user"].is_null());
    }

    #[test]
    fn closed_connections_are_bounded() {
        let mut closed = Closed::default();
        for cid in 0..2 * CLOSED_CONNECTIONS as u64 {
            closed.add(connection(cid % 3));
        }
        assert_eq!(closed.iter().count(), CLOSED_CONNECTIONS);
    }
}
