//! The window against a journal, partitions and a sink made of vectors; the connection as a table.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What may happen to a sink.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// As many records as may be are read and sent.
    Send(u8),
    /// The oldest record on its way in a partition arrives.
    Arrive(u8),
    /// All on their way in a partition come back.
    Refuse(u8),
    /// The sink is gone, with what is on its way.
    Lose,
    /// The same, and from now on one at a time.
    Suspect,
    /// The journal loses a record that was not read yet, or has to be read again.
    Damage(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..9u8).prop_map(Step::Send),
        6 => (0..3u8).prop_map(Step::Arrive),
        1 => (0..3u8).prop_map(Step::Refuse),
        1 => Just(Step::Lose),
        1 => Just(Step::Suspect),
        1 => (0..60u8).prop_map(Step::Damage),
    ]
}

const PARTITIONS: u64 = 3;
const RECORDS: u64 = 50;

#[derive(Default)]
struct World {
    journal: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    read_to: u64,
    acked: u64,
    flying: Vec<Vec<u64>>,
    arrived: Vec<Vec<u64>>,
}

impl World {
    fn next(&mut self) -> Option<u64> {
        let from = self.read_to.max(self.acked) + 1;
        let next = self.journal.range(from..).next().copied()?;
        self.read_to = next;
        Some(next)
    }

    fn send(&mut self, window: &mut Window, most: u8) {
        for _ in 0..most {
            if window.rewind() {
                self.read_to = 0;
            }
            if !window.has_room() {
                return;
            }
            let Some(seq) = self.next() else {
                return window.at_end();
            };
            if window.take(seq) != Take::Skip {
                window.sent(seq);
                self.flying[(seq % PARTITIONS) as usize].push(seq);
            }
            if window.is_careful() {
                assert!(window.in_flight() <= 1);
            }
        }
    }

    fn arrive(&mut self, window: &mut Window, partition: usize) {
        if !self.flying[partition].is_empty() {
            let seq = self.flying[partition].remove(0);
            self.arrived[partition].push(seq);
            assert!(window.done(seq), "{seq} arrived twice");
        }
    }

    fn check(&mut self, window: &mut Window) {
        let flying: usize = self.flying.iter().map(Vec::len).sum();
        assert_eq!(window.in_flight(), flying);
        // A record that was lost at the window's end is noticed by the one behind it.
        assert!(window.slots.len() <= window.slots_max + self.lost.len());
        if let Some(acked) = window.free() {
            assert!(acked > self.acked);
            self.acked = acked;
            let seen = |seq: &u64| {
                self.lost.contains(seq) || self.arrived.iter().flatten().any(|s| s == seq)
            };
            assert!(
                (1..=acked).all(|seq| seen(&seq)),
                "{acked} was freed too early"
            );
        }
    }
}

proptest! {
    /// No outage, no replacement of the producer: each record arrives once, in order within its partition.
    #[test]
    fn every_record_arrives_once_and_in_order_within_its_partition(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World {
            journal: (1..=RECORDS).collect(),
            flying: vec![Vec::new(); PARTITIONS as usize],
            arrived: vec![Vec::new(); PARTITIONS as usize],
            ..World::default()
        };
        let mut window = Window::new(12);
        for step in steps {
            match step {
                Step::Send(most) => world.send(&mut window, most),
                Step::Arrive(partition) => world.arrive(&mut window, partition.into()),
                Step::Refuse(partition) => {
                    for seq in std::mem::take(&mut world.flying[usize::from(partition)]) {
                        window.back(seq);
                    }
                }
                Step::Lose | Step::Suspect => {
                    world.flying.iter_mut().for_each(Vec::clear);
                    window.all_back();
                    if matches!(step, Step::Suspect) {
                        window.careful_to(None);
                    }
                }
                Step::Damage(seq) => {
                    let seq = u64::from(seq);
                    let gone = !world.flying.iter().chain(&world.arrived).flatten().any(|s| *s == seq);
                    if gone && world.journal.remove(&seq) {
                        world.lost.insert(seq);
                    }
                }
            }
            world.check(&mut window);
        }
        for _ in 0..10 * RECORDS {
            world.send(&mut window, 9);
            (0..PARTITIONS as usize).for_each(|partition| world.arrive(&mut window, partition));
            world.check(&mut window);
        }
        prop_assert!(window.is_empty() && !window.is_careful());
        let mut all: Vec<_> = world.arrived.iter().flatten().copied().collect();
        for partition in &world.arrived {
            prop_assert!(partition.is_sorted(), "{:?}", partition);
        }
        all.sort_unstable();
        let expected: Vec<_> = (1..=RECORDS).filter(|seq| !world.lost.contains(seq)).collect();
        prop_assert_eq!(all, expected);
    }
}

#[test]
fn a_record_that_was_sent_before_says_so() {
    let mut window = Window::new(4);
    assert_eq!(window.take(1), Take::First);
    window.sent(1);
    assert_eq!(window.take(2), Take::First);
    window.all_back();
    assert!(!window.has_room(), "what came before comes first");
    assert!(window.rewind());
    assert_eq!(window.take(1), Take::Again);
    assert_eq!(window.take(2), Take::First, "it was read, not sent");
}

#[test]
fn only_the_suspects_go_one_at_a_time() {
    let mut window = Window::new(9);
    for seq in [3, 5, 8] {
        window.take(seq);
        window.sent(seq);
    }
    window.all_back();
    window.careful_to(Some(5));
    assert!(window.rewind() && window.is_careful());
    for seq in [3, 5] {
        assert!(window.has_room());
        window.take(seq);
        window.sent(seq);
        assert!(!window.has_room());
        window.done(seq);
        assert_eq!(window.free(), Some(seq));
    }
    assert!(!window.is_careful());
    window.take(8);
    window.sent(8);
    assert!(window.has_room());
}

const S: Duration = Duration::from_secs(1);

#[test]
fn an_outage_is_told_once_and_ends_with_the_first_arrival() {
    let start = Instant::now();
    let mut link = Link::new(start);
    link.answered(start);
    assert_eq!(link.look(true, false, start), Call::Nothing);
    assert_eq!(link.look(true, true, start + 4 * S), Call::Nothing);
    assert_eq!(link.next_look(true), Some(start + KAFKA_OUTAGE));
    assert_eq!(link.look(true, true, start + KAFKA_OUTAGE), Call::Outage);
    assert_eq!(link.look(true, true, start + 9 * S), Call::Nothing);
    assert!(link.is_out());
    assert_eq!(link.arrived(start + 20 * S), Some(20 * S));
    assert!(!link.is_out());
    assert_eq!(link.arrived(start + 21 * S), None);
    assert_eq!(link.look(false, false, start + 22 * S), Call::Nothing);
    assert_eq!(link.next_look(false), None, "nothing to wait for");
}

#[test]
fn while_nothing_is_to_be_sent_questions_tell_whether_there_is_a_broker() {
    let start = Instant::now();
    let mut link = Link::new(start);
    assert_eq!(link.look(false, false, start), Call::Nothing);
    let first = start + KAFKA_FIRST_PROBE;
    assert_eq!(link.next_look(false), Some(first));
    assert_eq!(link.look(false, false, first), Call::Probe);
    link.silent(first);
    assert_eq!(link.look(false, true, start + KAFKA_OUTAGE), Call::Outage);
    let second = first + KAFKA_PROBE_PAUSE;
    assert_eq!(link.next_look(false), Some(second));
    assert_eq!(link.look(false, true, second), Call::Probe);
    assert_eq!(link.answered(second), Some(second - start));
    assert_eq!(link.look(false, false, second), Call::Nothing);
    // librdkafka says that all are gone: asked at once.
    assert_eq!(link.look(false, true, second + 60 * S), Call::Probe);
}

#[test]
fn a_producer_is_suspect_when_nothing_arrives_and_the_next_one_has_longer() {
    let start = Instant::now();
    let mut link = Link::new(start);
    assert_eq!(link.look(true, false, start), Call::Nothing);
    assert_eq!(link.look(true, false, start + KAFKA_OUTAGE), Call::Outage);
    let mut now = start + PRODUCER_STALL;
    assert_eq!(link.look(true, false, now - S), Call::Nothing);
    assert_eq!(link.look(true, false, now), Call::Suspect);
    // No broker answers: asked again later.
    assert_eq!(link.look(true, false, now + S), Call::Nothing);
    now += PRODUCER_STALL;
    assert_eq!(link.look(true, false, now), Call::Suspect);
    for stall in [120, 240, 480, 600, 600] {
        link.replaced(now);
        now += stall * S;
        assert_eq!(link.look(true, false, now - S), Call::Nothing);
        assert_eq!(link.look(true, false, now), Call::Suspect);
    }
    link.arrived(now);
    assert_eq!(link.look(true, false, now), Call::Nothing);
    assert_eq!(
        link.look(true, false, now + PRODUCER_STALL - S),
        Call::Outage
    );
    assert_eq!(link.look(true, false, now + PRODUCER_STALL), Call::Suspect);
}
