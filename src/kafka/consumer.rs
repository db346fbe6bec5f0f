//! The consumer of topic FMAASEVENTS, a member of the pod's consumer group. Its owner calls [`Consumer::poll`] when
//! [`Consumer::ready`] says so, once in a while in any case, and does what it says.
//!
//! Nothing here waits for brokers but the calls that have a `wait`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::FMAASEVENTS;
use super::config::{ConsumerConfig, Mask};
use super::error::{ConfigError, RequestError};
use super::start::{Offsets, Start};
use super::words::{Context, lock};
use crate::limits::KAFKA_POLLS_A_TURN;

/// What [`Consumer::poll`] has found.
#[derive(Debug)]
pub enum Polled<'a> {
    /// Nothing more for now.
    Nothing,
    /// A record. The next one of its partition is another one, whatever becomes of this.
    Record(Record<'a>),
    /// These are all partitions that the group gives to this member. Nothing of them comes before [`Consumer::assign`].
    Assigned(Vec<i32>),
    /// All partitions are to be given back, with [`Consumer::unassign`]; the group waits for it.
    Revoked,
    /// Something has gone wrong.
    Failed(Failure),
}

/// What has gone wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The consumer is of no use any more: a short word for it, and why.
    Fatal(&'static str, String),
    /// The topic is not there. It may come.
    NoTopic,
    /// Something else; librdkafka tries again by itself.
    Passing(String),
}

/// A record that was read.
pub struct Record<'a>(BorrowedMessage<'a>);

/// A consumer of librdkafka. Dropping it waits for its threads. It leaves the group's coordinator in the belief that this member will
/// be back, so that its partitions are nobody else's meanwhile.
pub struct Consumer {
    inner: BaseConsumer<Context<Inbox>>,
    ready: Receiver<()>,
    brokers: String,
}

/// What librdkafka tells: while [`Consumer::poll`] runs, from the thread that called it.
#[derive(Default)]
struct Inbox {
    /// What it has told and [`Consumer::poll`] has not. A call of librdkafka's poll brings at most one.
    told: Mutex<VecDeque<Polled<'static>>>,
    /// Nobody looks at `told` any more.
    is_closing: AtomicBool,
}

impl Context<Inbox> {
    fn tell(&self, what: Polled<'static>) {
        self.words.called();
        lock(&self.own.told).push_back(what);
    }
}

impl ConsumerContext for Context<Inbox> {
    /// The answer is given later, by whoever polls.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.own.is_closing.load(Ordering::Relaxed) {
            // The end waits for it.
            let _ = consumer.unassign();
        } else if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let all = partitions.elements_for_topic(FMAASEVENTS);
            let all = all.iter().map(|partition| partition.partition());
            self.tell(Polled::Assigned(all.collect()));
        } else {
            self.tell(Polled::Revoked);
        }
    }
}

/// The partitions that have an offset and no error.
fn known_offsets(partitions: &TopicPartitionList) -> Offsets {
    let all = partitions.elements_for_topic(FMAASEVENTS);
    let all = all.iter().filter_map(|partition| match partition.offset() {
        Offset::Offset(offset) if partition.error().is_ok() => {
            Some((partition.partition(), offset))
        }
        _ => None,
    });
    all.collect()
}

fn first_error(partitions: &TopicPartitionList) -> KafkaResult<()> {
    let all = partitions.elements_for_topic(FMAASEVENTS);
    all.iter().try_for_each(|partition| partition.error())
}

fn list(offsets: impl Iterator<Item = (i32, Offset)>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(FMAASEVENTS, partition, offset)?;
    }
    Ok(list)
}

fn at(offsets: &Offsets) -> KafkaResult<TopicPartitionList> {
    list(offsets.iter().map(|(p, o)| (*p, Offset::Offset(*o))))
}

impl Consumer {
    /// Makes a consumer, which is no member of the group yet. It connects in the background, for as long as it takes.
    ///
    /// # Errors
    /// An option that cannot be passed through, or settings that do not go together.
    pub fn new(config: &ConsumerConfig) -> Result<Self, ConfigError> {
        let mask = Mask::new(&config.opts);
        let client = config.client_config()?;
        let context = Context::new(mask.clone(), Inbox::default());
        let mut inner = BaseConsumer::from_config_and_context(&client, context)
            .map_err(|error| ConfigError::together(error, &mask))?;
        let (wake, ready) = bounded(1);
        inner.set_nonempty_callback(move || {
            // A word that waits already is as good.
            let _ = wake.try_send(());
        });
        Ok(Self {
            inner,
            ready,
            brokers: config.brokers.join(","),
        })
    }

    /// There is something to [`Self::poll`], since it last found nothing: for a `select!`.
    pub fn ready(&self) -> &Receiver<()> {
        &self.ready
    }

    /// The ends of all partitions now; none when the topic is not there.
    ///
    /// # Errors
    /// No broker has told within about `wait`.
    pub fn ends(&self, wait: Duration) -> Result<Offsets, RequestError> {
        let failed =
            |error| RequestError::new("the partitions of FMAASEVENTS are not known", &error);
        let metadata = self.inner.fetch_metadata(Some(FMAASEVENTS), wait);
        let metadata = metadata.map_err(failed)?;
        self.context().words.answered();
        let topic = metadata.topics().iter().find(|t| t.name() == FMAASEVENTS);
        let no_leader = RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        let (error, partitions) = match topic {
            Some(topic) => (topic.error(), topic.partitions()),
            None => (Some(no_leader), Default::default()),
        };
        match error {
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(Offsets::new()),
            Some(error) => Err(failed(KafkaError::MetadataFetch(error.into()))),
            // It is being made.
            None if partitions.is_empty() => {
                Err(failed(KafkaError::MetadataFetch(no_leader.into())))
            }
            None => {
                let ends = partitions.iter().map(|p| (p.id(), Start::End)).collect();
                self.resolve(&ends, wait)
            }
        }
    }

    /// The offsets that `starts` are now.
    ///
    /// # Errors
    /// No broker has told all of them within `wait`.
    pub fn resolve(
        &self,
        starts: &BTreeMap<i32, Start>,
        wait: Duration,
    ) -> Result<Offsets, RequestError> {
        let failed = |error| RequestError::new("offsets of FMAASEVENTS are not known", &error);
        let mut offsets = Offsets::new();
        let mut asked = Vec::new();
        for (&partition, start) in starts {
            match start {
                Start::At(offset) => drop(offsets.insert(partition, *offset)),
                Start::First => asked.push((partition, Offset::Beginning)),
                Start::End => asked.push((partition, Offset::End)),
            }
        }
        if asked.is_empty() {
            return Ok(offsets);
        }
        // The two have the same numbers as times: Kafka answers with the first and the last offset.
        let asked = list(asked.into_iter()).map_err(failed)?;
        let answer = self.inner.offsets_for_times(asked, wait).map_err(failed)?;
        first_error(&answer).map_err(failed)?;
        offsets.extend(known_offsets(&answer));
        if offsets.len() < starts.len() {
            return Err(failed(KafkaError::OffsetFetch(Code::NoOffset)));
        }
        Ok(offsets)
    }

    /// Becomes a member of the group.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn join(&self) -> Result<(), RequestError> {
        let joined = self.inner.subscribe(&[FMAASEVENTS]);
        joined.map_err(|error| RequestError::new("the consumer group cannot be joined", &error))
    }

    /// What the group has committed of these partitions.
    ///
    /// # Errors
    /// The group's coordinator has not told within `wait`.
    pub fn committed(
        &self,
        partitions: impl Iterator<Item = i32>,
        wait: Duration,
    ) -> Result<Offsets, RequestError> {
        let failed = |error| RequestError::new("what was committed is not known", &error);
        let asked = list(partitions.map(|p| (p, Offset::Invalid))).map_err(failed)?;
        let answer = self.inner.committed_offsets(asked, wait).map_err(failed)?;
        first_error(&answer).map_err(failed)?;
        Ok(known_offsets(&answer))
    }

    /// Begins these partitions, which are all that [`Polled::Assigned`] has named, at these offsets.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn assign(&self, offsets: &Offsets) -> Result<(), RequestError> {
        let assigned = at(offsets).and_then(|all| self.inner.assign(&all));
        assigned.map_err(|error| RequestError::new("partitions cannot be begun", &error))
    }

    /// Gives all partitions back.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn unassign(&self) -> Result<(), RequestError> {
        let unassigned = self.inner.unassign();
        unassigned.map_err(|error| RequestError::new("partitions cannot be given back", &error))
    }

    /// Commits these offsets. Whether it has worked nobody tells (with rdkafka 0.39 there is no call back): see [`Self::committed`], whose
    /// question goes the same way, behind this.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn commit(&self, offsets: &Offsets) -> Result<(), RequestError> {
        let asked = at(offsets).and_then(|all| self.inner.commit(&all, CommitMode::Async));
        asked.map_err(|error| RequestError::new("offsets cannot be committed", &error))
    }

    /// No record comes any more until [`Self::resume`]; what was read ahead is thrown away and comes again then.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn pause(&self) -> Result<(), RequestError> {
        let paused = self.inner.assignment();
        let paused = paused.and_then(|all| self.inner.pause(&all));
        paused.map_err(|error| RequestError::new("partitions cannot be paused", &error))
    }

    /// See [`Self::pause`].
    ///
    /// # Errors
    /// librdkafka refuses.
    pub fn resume(&self) -> Result<(), RequestError> {
        let resumed = self.inner.assignment();
        let resumed = resumed.and_then(|all| self.inner.resume(&all));
        resumed.map_err(|error| RequestError::new("partitions cannot be resumed", &error))
    }

    /// What comes next. Never blocks.
    pub fn poll(&self) -> Polled<'_> {
        let context = self.context();
        for _ in 0..KAFKA_POLLS_A_TURN {
            if let Some(told) = lock(&context.own.told).pop_front() {
                return told;
            }
            let before = context.words.calls();
            match self.inner.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    context.words.answered();
                    return Polled::Record(Record(message));
                }
                Some(Err(error)) => {
                    if let Some(failure) = self.failure(&error) {
                        return Polled::Failed(failure);
                    }
                }
                None if context.words.calls() == before => break,
                None => {}
            }
        }
        Polled::Nothing
    }

    /// What an error means; `None`: somebody else tells it.
    fn failure(&self, error: &KafkaError) -> Option<Failure> {
        if let Some((code, text)) = self.inner.client().fatal_error() {
            let label = match code {
                Code::FencedInstanceId => "fenced",
                _ => "fatal",
            };
            return Some(Failure::Fatal(label, self.context().words.clean(&text)));
        }
        Some(match error.rdkafka_error_code()? {
            Code::AllBrokersDown => return None,
            Code::PollExceeded => Failure::Fatal("poll_exceeded", self.last_error()),
            Code::UnknownTopicOrPartition | Code::UnknownTopic => Failure::NoTopic,
            code => match self.last_error() {
                text if text.is_empty() => Failure::Passing(code.to_string()),
                text => Failure::Passing(text),
            },
        })
    }

    /// Whether a broker answers within `wait`.
    pub fn probe(&self, wait: Duration) -> bool {
        let answers = self.inner.fetch_metadata(Some(FMAASEVENTS), wait).is_ok();
        if answers {
            self.context().words.answered();
        }
        answers
    }

    /// No broker could be reached when librdkafka last said so, and nothing came since: see [`Self::probe`].
    pub fn brokers_down(&self) -> bool {
        self.context().words.brokers_down()
    }

    /// The last thing that went wrong, for a line in the log; empty when nothing did.
    pub fn last_error(&self) -> String {
        self.context().words.last_error()
    }

    /// The brokers that it was given, for the log.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    fn context(&self) -> &Context<Inbox> {
        self.inner.context()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.context().own.is_closing.store(true, Ordering::Relaxed);
        // An assignment that nobody has answered would be waited for.
        let _ = self.inner.unassign();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

impl Record<'_> {
    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Its value; a record without one has an empty one.
    pub fn value(&self) -> &[u8] {
        self.0.payload().unwrap_or_default()
    }

    /// Its headers in their order, but for those whose name is not UTF-8; `None`: the header has no value.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let headers = self.0.headers();
        let count = headers.map_or(0, |headers| headers.count());
        (0..count).filter_map(move |index| header(headers?, index))
    }
}

/// Whether a panic is that of rdkafka over the name of a header, which is caught: nobody needs to be told.
pub fn is_caught(panic: &PanicHookInfo<'_>) -> bool {
    let file = panic.location().map_or("", |location| location.file());
    file.contains("rdkafka") && file.ends_with("message.rs")
}

/// rdkafka panics over a name that is not UTF-8, before it has done anything.
fn header(headers: &BorrowedHeaders, index: usize) -> Option<(&str, Option<&[u8]>)> {
    let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index)));
    let header = header.ok()??;
    Some((header.key, header.value))
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} at {})", self.partition(), self.offset())
    }
}
