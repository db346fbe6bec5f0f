//! Random work against a model: a queue.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Append(u16),
    Commit,
    Next(u8),
    /// Acknowledges this part of what is in flight, in 255ths.
    Ack(u8),
    Rewind,
    Reopen,
    /// How the next calls of the disk go.
    Fail(u8, u8),
    Repair,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => prop_oneof![4 => 0u16..60, 1 => 0u16..900].prop_map(Op::Append),
        4 => Just(Op::Commit),
        5 => (1u8..12).prop_map(Op::Next),
        4 => any::<u8>().prop_map(Op::Ack),
        1 => Just(Op::Rewind),
        1 => Just(Op::Reopen),
        1 => (0u8..4, 1u8..4).prop_map(|(fault, calls)| Op::Fail(fault, calls)),
        2 => Just(Op::Repair),
    ]
}

/// What must be in the journal.
#[derive(Default)]
struct Model {
    /// Committed and not acknowledged: number, payload.
    queue: VecDeque<(u64, Vec<u8>)>,
    /// Appended, not committed.
    pending: Vec<(u64, Vec<u8>)>,
    /// How many of `queue` were given out.
    given: usize,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_journal_is_a_queue_that_outlives_its_owner(
        ops in prop::collection::vec(op(), 0..120),
        fsync in prop::sample::select(vec![Fsync::Never, Fsync::Interval, Fsync::Always]),
    ) {
        let limits = JournalLimits { bytes_max: 4000, segment_bytes: 600, fsync };
        let mut rig = Rig::new(limits);
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Append(size) => {
                    let mut payload = vec![b'.'; size.into()];
                    payload.extend_from_slice(rig.appended.to_string().as_bytes());
                    match rig.writer().append(Kind::Event, &payload, 1) {
                        Ok(seq) => {
                            rig.appended += 1;
                            model.pending.push((seq, payload));
                        }
                        Err(AppendError::Full) => {
                            let bytes = rig.metrics.events.journal_bytes.get();
                            prop_assert!(bytes > 4000 - 2 * 950, "full with {bytes}");
                        }
                        Err(AppendError::Disk(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    // What no longer fits the buffer or the segment is committed by the way.
                    let left = rig.writer().uncommitted() as usize;
                    let early = model.pending.len() - left;
                    model.queue.extend(model.pending.drain(..early));
                }
                Op::Commit => {
                    rig.now += Duration::from_millis(300);
                    if rig.try_commit().is_ok() {
                        prop_assert_eq!(rig.writer().uncommitted(), 0);
                    }
                    let left = rig.writer().uncommitted() as usize;
                    let done = model.pending.len() - left;
                    model.queue.extend(model.pending.drain(..done));
                }
                Op::Next(count) => {
                    for _ in 0..count {
                        let Ok(record) = rig.reader().next() else { break };
                        let want = model.queue.get(model.given).cloned();
                        prop_assert_eq!(record.map(|r| (r.seq, r.payload)), want.clone());
                        model.given += usize::from(want.is_some());
                    }
                }
                Op::Ack(part) => {
                    let count = model.given * usize::from(part) / 255;
                    let Some(last) = count.checked_sub(1) else { continue };
                    let seq = model.queue[last].0;
                    let _ = rig.reader().ack(seq);
                    model.queue.drain(..count);
                    model.given -= count;
                }
                Op::Rewind => {
                    rig.reader().rewind();
                    model.given = 0;
                }
                Op::Reopen => {
                    rig.disk.repair();
                    // What the last call could not store is stored by the next.
                    let acked = model.queue.front().map(|(seq, _)| seq - 1);
                    rig.reader().ack(acked.unwrap_or(u64::MAX)).unwrap();
                    rig.open();
                    model.given = 0;
                    // Bytes of a record that was never committed may be there whole, and then it is.
                    let depth = rig.depth() as usize;
                    let more = depth - model.queue.len();
                    prop_assert!(more <= model.pending.len());
                    model.queue.extend(model.pending.drain(..more));
                    model.pending.clear();
                    let torn = rig.damage("torn_tail");
                    prop_assert!(torn <= 1 && rig.damage("bad_record") + rig.damage("bad_segment") == 0);
                }
                Op::Fail(fault, calls) => {
                    let faults = [Fault::Error(Errno::NOSPC), Fault::Error(Errno::IO), Fault::Short, Fault::Torn(Errno::NOSPC)];
                    let mut plan = rig.disk.plan();
                    plan.fault = faults[usize::from(fault)];
                    plan.fail = plan.calls..plan.calls + u64::from(calls);
                }
                Op::Repair => rig.disk.repair(),
            }
            prop_assert_eq!(rig.depth() as usize, model.queue.len());
            let bytes: u64 = rig.segments().iter().map(|s| fs::metadata(s).unwrap().len()).sum();
            prop_assert!(bytes <= 4000, "{bytes} bytes");
        }
        rig.disk.repair();
        rig.now += Duration::from_secs(2);
        rig.try_commit().unwrap();
        model.queue.extend(model.pending.drain(..));
        rig.reader().rewind();
        for want in &model.queue {
            let record = rig.reader().next().unwrap().unwrap();
            prop_assert_eq!(&(record.seq, record.payload), want);
        }
        prop_assert_eq!(rig.reader().next().unwrap(), None);
        prop_assert_eq!(rig.lost(), 0);
    }
}
