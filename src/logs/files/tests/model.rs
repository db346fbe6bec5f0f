//! Random work against a model: the lines that went in are the lines in the backups and the live file, in order.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Append(u8, Vec<u16>),
    Turn(bool),
    Pass(u16),
    Limit(u16),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let sizes = proptest::collection::vec(prop_oneof![0u16..40, 0u16..400], 0..8);
    prop_oneof![
        6 => (0u8..3, sizes).prop_map(|(who, sizes)| Op::Append(who, sizes)),
        3 => any::<bool>().prop_map(Op::Turn),
        2 => (0u16..30).prop_map(Op::Pass),
        1 => (1u16..600).prop_map(Op::Limit),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn no_line_is_lost_torn_doubled_or_out_of_order(
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let limits = FileLimits { file_bytes: 300, buffer_bytes: 100, ..ROOMY };
        let mut rig = Rig::new(limits);
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut largest = 300;
        let mut number = 0u32;
        for op in ops {
            match op {
                Op::Append(who, sizes) => {
                    let name = who.to_string();
                    let all = model.entry(format!("p_n_{name}-")).or_default();
                    let mut lines = Vec::new();
                    for size in sizes {
                        number += 1;
                        // Line ends inside, too.
                        let mut line = format!("{number}\n").into_bytes();
                        line.resize(usize::from(size), b'.');
                        all.extend_from_slice(&line);
                        all.push(b'\n');
                        lines.push(line);
                    }
                    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
                    rig.append(&name, &lines);
                }
                Op::Turn(flush) => rig.turn(flush),
                Op::Pass(ms) => rig.pass(Duration::from_millis(ms.into())),
                Op::Limit(bytes) => {
                    largest = largest.max(usize::from(bytes));
                    rig.limits.file_bytes = bytes.into();
                    rig.files.set_limits(rig.limits);
                }
                Op::Restart => rig.restart(),
            }
        }
        rig.settle();
        model.retain(|_, bytes| !bytes.is_empty());
        if model.is_empty() {
            return Ok(());
        }
        let found = contents(&rig.path());
        for file in found.values().flatten() {
            // At most the limit, or one line, of which none here is longer than 400.
            prop_assert!(file.len() <= largest.max(401), "{}", file.len());
        }
        let found: BTreeMap<String, Vec<u8>> =
            found.into_iter().map(|(stem, files)| (stem, files.concat())).collect();
        prop_assert_eq!(found, model);
        prop_assert_eq!(rig.dropped(), 0);
    }
}
