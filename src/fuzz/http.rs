//! The requests of a client of the operations API.

use crate::http::{Limits, Request, RequestReader, Step};
use crate::limits::HTTP_READ_BYTES;

/// Any bytes of a client, cut anywhere: nothing panics, memory stays bounded, and the requests do not depend on the cut.
/// Which error ends them may (a head that is over the limit has other faults too), whether one does may not.
///
/// The first byte of the input says how far apart the cuts are; the rest is the stream.
pub fn http_request(data: &[u8]) {
    let Some((&how, stream)) = data.split_first() else {
        return;
    };
    let step = usize::from(how) + 1;
    let whole = run(stream, stream.len().max(1));
    assert_eq!(whole, run(stream, step), "cut every {step} bytes");
}

/// The requests of `stream` in pieces of `step` bytes, and whether it ended with an error.
fn run(stream: &[u8], step: usize) -> (Vec<Request>, bool) {
    let limits = Limits::tiny();
    let mut reader = RequestReader::new(limits);
    let mut requests = Vec::new();
    for mut piece in stream.chunks(step) {
        while !piece.is_empty() {
            let taken = reader.feed(piece);
            assert!(taken > 0, "there is room after More");
            piece = piece.get(taken..).unwrap_or_default();
            loop {
                assert!(reader.held() <= limits.head_bytes + HTTP_READ_BYTES + limits.body_bytes);
                match reader.step() {
                    Ok(Step::More) => break,
                    Ok(Step::Continue) => {}
                    Ok(Step::Request(request)) => {
                        assert!(request.body.len() <= limits.body_bytes);
                        requests.push(request);
                    }
                    Err(error) => {
                        assert!((400..600).contains(&error.status()));
                        super::assert_showable(&error.to_string());
                        return (requests, true);
                    }
                }
            }
        }
    }
    (requests, false)
}
