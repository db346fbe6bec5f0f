//! Makes a session that fails smaller, as long as it fails.

use super::session::{Session, Step};
use super::stream::is_arbitrary;

/// The smallest session found for which `fails`; it is asked so often at most.
pub fn shrink(
    session: &Session,
    mut tries: usize,
    mut fails: impl FnMut(&Session) -> bool,
) -> Session {
    let mut best = session.clone();
    let mut attempt = |best: &mut Session, mut smaller: Session| {
        smaller.steps.retain(|step| !step.bytes.is_empty());
        // A client without a step that is not the last one would be a connection that does nothing.
        let clients = smaller.clients();
        let is_whole = (0..clients).all(|client| smaller.stream(client).next().is_some());
        if tries == 0 || smaller.steps.is_empty() || !is_whole || is_arbitrary(&smaller) {
            return false;
        }
        tries -= 1;
        let is_better = fails(&smaller);
        if is_better {
            *best = smaller;
        }
        is_better
    };
    loop {
        let mut is_smaller = false;
        for client in (0..best.clients()).rev() {
            let mut smaller = best.clone();
            smaller.steps.retain(|step| step.client != client);
            for step in &mut smaller.steps {
                step.client -= usize::from(step.client > client);
            }
            is_smaller |= attempt(&mut best, smaller);
        }
        for at in (0..best.steps.len()).rev() {
            let mut smaller = best.clone();
            smaller.steps.remove(at);
            is_smaller |= attempt(&mut best, smaller);
        }
        for at in 0..best.steps.len() {
            if !best.steps[at].cuts.is_empty() {
                let mut smaller = best.clone();
                smaller.steps[at].cuts.clear();
                is_smaller |= attempt(&mut best, smaller);
            }
        }
        for at in (0..best.steps.len()).rev() {
            let mut size = best.steps.get(at).map_or(0, |step| step.bytes.len());
            while size > 0 {
                let mut from = 0;
                while let Some(step) = best.steps.get(at).filter(|step| from < step.bytes.len()) {
                    let mut smaller = best.clone();
                    smaller.steps[at] = without(step, from, (from + size).min(step.bytes.len()));
                    let steps = best.steps.len();
                    if attempt(&mut best, smaller) {
                        is_smaller = true;
                        if best.steps.len() < steps {
                            break;
                        }
                    } else {
                        from += size;
                    }
                }
                size /= 2;
            }
        }
        if !is_smaller {
            return best;
        }
    }
}

fn without(step: &Step, from: usize, to: usize) -> Step {
    let mut bytes = step.bytes.clone();
    bytes.drain(from..to);
    let moved = step.cuts.iter().map(|&cut| match cut {
        cut if cut <= from => cut,
        cut if cut < to => from,
        cut => cut - (to - from),
    });
    let mut cuts: Vec<usize> = moved.filter(|&cut| cut > 0 && cut < bytes.len()).collect();
    cuts.dedup();
    Step {
        client: step.client,
        bytes,
        cuts,
    }
}

#[test]
fn what_does_not_matter_goes() {
    let session = Session::parse("@ plain\n1: one\\r\\n|two\n2: three|fo|ur\n3: five\n2: six\n");
    let fails = |session: &Session| {
        let has = |client, text: &[u8]| {
            let mut steps = session.stream(client);
            steps.any(|step| step.bytes.windows(text.len()).any(|window| window == text))
        };
        has(0, b"tw") && session.clients() > 1
    };
    assert_eq!(
        shrink(&session, 1000, fails).to_string(),
        "@ plain\n1: tw\n2: r\n"
    );
    assert_eq!(shrink(&session, 0, fails), session);
}
