//! Random work against a model: every line arrives, in order, once but for what a kill makes come again; and no line is unaccounted for.

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Append(u8, Vec<(u16, u8)>),
    Turn(bool),
    Pass(u16),
    Limits(u16, u8),
    ClockBack(u8),
    Read(u16),
    Deliver(u8),
    Rewind,
    Sync,
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    let sizes = proptest::collection::vec((0u16..120, 0u8..4), 0..8);
    prop_oneof![
        8 => (0u8..3, sizes).prop_map(|(who, sizes)| Op::Append(who, sizes)),
        5 => any::<bool>().prop_map(Op::Turn),
        2 => (0u16..200).prop_map(Op::Pass),
        1 => (40u16..600, 1u8..20).prop_map(|(bytes, count)| Op::Limits(bytes, count)),
        1 => (0u8..50).prop_map(Op::ClockBack),
        6 => (1u16..500).prop_map(Op::Read),
        6 => (0u8..9).prop_map(Op::Deliver),
        1 => Just(Op::Rewind),
        1 => Just(Op::Sync),
        2 => Just(Op::Kill),
    ]
}

struct Model {
    sender: Sender,
    /// Every payload, by its number.
    payloads: BTreeMap<u32, Vec<u8>>,
    /// The numbers that wait in a buffer, by container.
    waiting: BTreeMap<String, Vec<u32>>,
    /// The numbers that are in a file.
    written: BTreeSet<u32>,
    /// The number that arrived last, by container; since the last kill.
    last: BTreeMap<String, u32>,
    arrived: BTreeSet<u32>,
    checked: usize,
    /// Lines that the books have taken in, as of the last kill.
    taken_in: u64,
    doubles: u64,
}

impl Model {
    fn new(limits: FileLimits) -> Self {
        Self {
            sender: Sender::new(limits),
            payloads: BTreeMap::new(),
            waiting: BTreeMap::new(),
            written: BTreeSet::new(),
            last: BTreeMap::new(),
            arrived: BTreeSet::new(),
            checked: 0,
            taken_in: 0,
            doubles: 0,
        }
    }

    fn append(&mut self, who: u8, sizes: &[(u16, u8)]) {
        let mut lines = Vec::new();
        let waiting = self.waiting.entry(who.to_string()).or_default();
        for (size, kind) in sizes {
            let number = self.payloads.len() as u32 + 1;
            let mut line = format!("{number}:").into_bytes();
            line.resize(line.len() + usize::from(*size), b'.');
            if *kind == 0 {
                line.extend_from_slice(b"\n\nmore\n");
            }
            waiting.push(number);
            self.payloads.insert(number, line.clone());
            lines.push(line);
        }
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        self.sender.append(&who.to_string(), &lines);
    }

    /// What no longer waits is written.
    fn see_written(&mut self) {
        for (name, waiting) in &mut self.waiting {
            let stem = format!("p_n_{name}-");
            let mut entries = self.sender.rig.files.entries.iter();
            let entry = entries.find(|entry| entry.file.container.stem == stem);
            let left = entry.map_or(0, |entry| entry.file.lines());
            self.written.extend(waiting.drain(..waiting.len() - left));
        }
    }

    fn see_arrived(&mut self) -> Result<(), TestCaseError> {
        for (name, payload) in &self.sender.arrived[self.checked..] {
            let digits = payload.split(|byte| *byte == b':').next().unwrap();
            let number: u32 = std::str::from_utf8(digits).unwrap().parse().unwrap();
            prop_assert_eq!(&self.payloads[&number], payload);
            prop_assert!(self.written.contains(&number));
            let last = self.last.insert(name.clone(), number);
            prop_assert!(last < Some(number), "{:?} before {}", last, number);
            if !self.arrived.insert(number) {
                self.doubles += 1;
            }
        }
        self.checked = self.sender.arrived.len();
        Ok(())
    }

    /// Lines in = delivered + left + lost.
    fn conserved(&self) -> Result<(), TestCaseError> {
        let left = self.sender.backlog.remaining();
        let gauge = self.sender.rig.metrics.remote.backlog_lines.get();
        prop_assert_eq!(left.lines as i64, gauge);
        prop_assert_eq!(left.bytes == 0, self.sender.backlog.is_empty());
        let (delivered, lost) = (self.sender.taken_off, self.sender.lost_in_all());
        prop_assert_eq!(
            delivered + left.lines + lost,
            self.taken_in + self.written.len() as u64
        );
        Ok(())
    }

    fn kill(&mut self) -> Result<(), TestCaseError> {
        let before = self.sender.backlog.remaining().lines;
        self.sender.kill();
        self.waiting.clear();
        self.last.clear();
        while self.sender.replay.survey().unwrap() {}
        let after = self.sender.backlog.remaining().lines;
        // What was delivered and not stored is there again.
        prop_assert!(
            after >= before,
            "{} lines before the kill, {} after it",
            before,
            after
        );
        self.taken_in += after - before;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn every_line_arrives_in_order_or_is_counted_as_lost(
        before in proptest::collection::vec(0u8..3, 0..2),
        ops in proptest::collection::vec(op(), 0..80),
    ) {
        let limits = FileLimits { file_bytes: 300, buffer_bytes: 100, backups: 8, ..ROOMY };
        let mut model = Model::new(limits);
        for who in &before {
            // Not to be sent; the file is not to be removed.
            model.sender.rig.write(&who.to_string(), &[b"not this"]);
        }
        let mut killed = false;
        for op in ops {
            match op {
                Op::Append(who, sizes) => model.append(who, &sizes),
                Op::Turn(flush) => model.sender.rig.turn(flush),
                Op::Pass(ms) => model.sender.rig.pass(Duration::from_millis(ms.into())),
                Op::Limits(bytes, count) => {
                    let limits = &mut model.sender.rig.limits;
                    limits.file_bytes = bytes.into();
                    limits.backups = count.into();
                    let limits = *limits;
                    model.sender.rig.files.set_limits(limits);
                }
                Op::ClockBack(hours) => {
                    // Within the age of a backup.
                    model.sender.rig.now.utc -= Duration::from_secs(3600 * u64::from(hours));
                }
                Op::Read(bytes) => {
                    model.sender.read(bytes.into());
                }
                Op::Deliver(lines) => model.sender.deliver(lines.into()),
                Op::Rewind => {
                    model.sender.in_flight.clear();
                    model.sender.replay.rewind();
                }
                Op::Sync => model.sender.replay.sync(model.sender.rig.now.instant),
                Op::Kill => {
                    killed = true;
                    model.see_written();
                    model.see_arrived()?;
                    model.kill()?;
                }
            }
            model.see_written();
            model.see_arrived()?;
            model.conserved()?;
        }
        model.sender.rig.settle();
        model.see_written();
        model.sender.drain();
        model.see_arrived()?;
        model.conserved()?;
        prop_assert!(model.sender.backlog.is_empty());
        let missing = model.written.difference(&model.arrived).count() as u64;
        let lost = model.sender.lost_in_all();
        prop_assert!(missing <= lost, "{} missing, {} lost", missing, lost);
        prop_assert_eq!(model.sender.lost_in_all(), model.sender.lost("retention"));
        if !killed {
            prop_assert_eq!((missing, model.doubles), (lost, 0));
        }
        model.sender.rig.turn(false);
        prop_assert!(model.sender.kept().is_empty(), "{:?}", model.sender.kept());
        let stay: BTreeSet<String> = before.iter().map(|who| format!("p_n_{who}-")).collect();
        for name in model.sender.log_files() {
            prop_assert!(stay.iter().any(|stem| name.starts_with(stem)), "{} is left", name);
        }
    }
}
