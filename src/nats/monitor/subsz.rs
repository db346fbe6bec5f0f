//! `/subsz`.

use serde::Serialize;

use super::SubszQuery;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubInfo {
    /// Its subject.
    pub subject: String,
    /// Its queue group.
    #[serde(rename = "qgroup", skip_serializing_if = "String::is_empty")]
    pub queue: String,
    /// The client's own number of it.
    pub sid: String,
    /// Messages that it was sent.
    pub msgs: u64,
    /// Messages after which it ends.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// The number of the client.
    pub cid: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the index of subscriptions has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SublistStats {
    /// Subscriptions.
    pub num_subscriptions: usize,
    /// Subjects whose answer is kept.
    pub num_cache: usize,
    /// Subscriptions that ever came.
    pub num_inserts: u64,
    /// Subscriptions that ever went.
    pub num_removes: u64,
    /// Subjects looked up.
    pub num_matches: u64,
    /// The part of them whose answer was kept.
    pub cache_hit_rate: f64,
    /// Most subscriptions of one kept answer.
    pub max_fanout: usize,
    /// Subscriptions of a kept answer, on the average.
    pub avg_fanout: f64,
}

/// `/subsz`.
#[derive(Debug, Serialize)]
pub struct Subsz {
    server_id: String,
    now: String,
    #[serde(flatten)]
    stats: SublistStats,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubInfo>,
}

impl Subsz {
    /// The page; `subscriptions`: those that match, when they are asked for.
    pub fn new(
        server_id: String,
        now: std::time::SystemTime,
        query: &SubszQuery,
        stats: SublistStats,
        subscriptions: Vec<SubInfo>,
    ) -> Self {
        let total = match query.subs {
            true => subscriptions.len(),
            false => 0,
        };
        let list = subscriptions
            .into_iter()
            .skip(query.offset)
            .take(query.limit);
        Self {
            server_id,
            now: super::time(now),
            stats,
            total,
            offset: query.offset,
            limit: query.limit,
            subscriptions_list: list.collect(),
        }
    }
}
