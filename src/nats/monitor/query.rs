//! The queries of the monitoring pages.

/// Why a query cannot be answered: nats-server's texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Not a number.
    #[error("error decoding {name}: invalid value {value:?}: it takes a number")]
    Number {
        /// Name of the parameter.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// Not a switch.
    #[error("error decoding {name}: invalid value {value:?}: it takes true, false, 1 or 0")]
    Switch {
        /// Name of the parameter.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// Not a state.
    #[error("error decoding state for {0}: it takes open, closed or any")]
    State(String),
    /// An order that connections of this state have not got.
    #[error("sort by {0} only valid on closed connections")]
    SortOfClosed(String),
    /// Not an order.
    #[error("invalid sorting option: {0}")]
    Sort(String),
}

/// Subscriptions of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// Their number.
    #[default]
    Number,
    /// Their subjects.
    Subjects,
    /// All that is known.
    Detail,
}

/// The connections that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnState {
    /// Those that are open.
    #[default]
    Open,
    /// The last ones that are closed.
    Closed,
    /// Both.
    Any,
}

/// An order of connections. But for the first three the largest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Sort {
    #[default]
    Cid,
    Start,
    Reason,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    RoundTrip,
}

/// `/connz?…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnzQuery {
    /// `sort`
    pub sort: Sort,
    /// `auth`: tell the user.
    pub auth: bool,
    /// `subs`
    pub subs: Show,
    /// `offset`
    pub offset: usize,
    /// `limit`; 1024 unless told.
    pub limit: usize,
    /// `cid`: this one alone; 0: all.
    pub cid: u64,
    /// `state`
    pub state: ConnState,
    /// `user`: of this user alone.
    pub user: Option<String>,
    /// `filter_subject`: who is subscribed to it.
    pub filter_subject: Option<String>,
}

/// `/subsz?…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubszQuery {
    /// `subs`: list them.
    pub subs: bool,
    /// `test`: those that take this subject.
    pub test: Option<String>,
    /// `offset`
    pub offset: usize,
    /// `limit`; 1024 unless told.
    pub limit: usize,
}

/// Default of `limit`. nats-server: `DefaultConnListSize`, `DefaultSubListSize`.
const LIMIT: usize = 1024;

struct Parameters<'a>(&'a str);

impl Parameters<'_> {
    /// The first value of a parameter, decoded; `None` when it is absent or empty.
    fn get(&self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').map(|pair| pair.split_once('='));
        let value = pairs
            .find_map(|pair| pair.filter(|(key, _)| *key == name))?
            .1;
        Some(decode(value)).filter(|value| !value.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, QueryError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(QueryError::Number { name, value }),
        }
    }

    /// A number above 0; what is not counts as not given.
    fn position(&self, name: &'static str) -> Result<Option<usize>, QueryError> {
        let given: Option<i64> = self.number(name)?;
        let number = given.and_then(|number| usize::try_from(number).ok());
        Ok(number.filter(|&number| number > 0))
    }

    fn switch(&self, name: &'static str) -> Result<bool, QueryError> {
        match self.get(name).as_deref() {
            None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
            Some(value) => Err(QueryError::Switch {
                name,
                value: value.to_owned(),
            }),
        }
    }
}

/// Percent-decoding (RFC 3986), and `+` as a blank; bytes that are not UTF-8 are replaced.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |b: u8| (b as char).to_digit(16);
        let mut ahead = rest.clone();
        match (byte, ahead.next().and_then(hex), ahead.next().and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = ahead;
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl ConnzQuery {
    /// Reads what follows the `?`.
    ///
    /// # Errors
    /// A parameter with a value that it does not take.
    pub fn read(query: &str) -> Result<Self, QueryError> {
        let given = Parameters(query);
        let sort = match given.get("sort").as_deref() {
            None | Some("cid") => Sort::Cid,
            Some("start") => Sort::Start,
            Some("reason") => Sort::Reason,
            Some("subs") => Sort::Subs,
            Some("pending") => Sort::Pending,
            Some("msgs_to") => Sort::MsgsTo,
            Some("msgs_from") => Sort::MsgsFrom,
            Some("bytes_to") => Sort::BytesTo,
            Some("bytes_from") => Sort::BytesFrom,
            Some("last") => Sort::Last,
            Some("idle") => Sort::Idle,
            Some("uptime") => Sort::Uptime,
            Some("stop") => Sort::Stop,
            Some("rtt") => Sort::RoundTrip,
            Some(other) => return Err(QueryError::Sort(other.to_owned())),
        };
        let subs = match given.get("subs").as_deref() {
            Some("detail") => Show::Detail,
            _ if given.switch("subs")? => Show::Subjects,
            _ => Show::Number,
        };
        let state = match given
            .get("state")
            .map(|state| state.to_ascii_lowercase())
            .as_deref()
        {
            None | Some("open") => ConnState::Open,
            Some("closed") => ConnState::Closed,
            Some("any" | "all") => ConnState::Any,
            Some(other) => return Err(QueryError::State(other.to_owned())),
        };
        if matches!(sort, Sort::Stop | Sort::Reason) && state != ConnState::Closed {
            let sort = given.get("sort").unwrap_or_default();
            return Err(QueryError::SortOfClosed(sort));
        }
        let cid = given.number("cid")?.unwrap_or(0);
        Ok(Self {
            sort,
            auth: given.switch("auth")?,
            subs,
            offset: given.position("offset")?.unwrap_or(0),
            limit: match cid {
                0 => given.position("limit")?.unwrap_or(LIMIT),
                _ => 1,
            },
            cid,
            state,
            user: given.get("user"),
            filter_subject: given.get("filter_subject"),
        })
    }
}

impl SubszQuery {
    /// Reads what follows the `?`.
    ///
    /// # Errors
    /// A parameter with a value that it does not take.
    pub fn read(query: &str) -> Result<Self, QueryError> {
        let given = Parameters(query);
        Ok(Self {
            subs: given.switch("subs")?,
            test: given.get("test"),
            offset: given.position("offset")?.unwrap_or(0),
            limit: given.position("limit")?.unwrap_or(LIMIT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query =
            ConnzQuery::read("sort=bytes_to&subs=detail&limit=2&offset=1&state=ANY&auth=1&x=y")
                .unwrap();
        assert_eq!(
            (
                query.sort,
                query.subs,
                query.limit,
                query.offset,
                query.state,
                query.auth
            ),
            (Sort::BytesTo, Show::Detail, 2, 1, ConnState::Any, true)
        );
        let plain = ConnzQuery::read("").unwrap();
        assert_eq!(
            (plain.limit, plain.subs, plain.cid),
            (LIMIT, Show::Number, 0)
        );
        for bad in [
            "limit=x",
            "offset=x",
            "sort=stop",
            "sort=reason&state=any",
            "subs=many",
            "auth=2",
            "state=half",
            "sort=size",
            "cid=1.5",
        ] {
            assert!(ConnzQuery::read(bad).is_err(), "{bad}");
        }
        let subsz = SubszQuery::read("subs=1&test=a%2Eb+c%").unwrap();
        assert_eq!((subsz.subs, subsz.test.as_deref()), (true, Some("a.b c%")));
    }
}
