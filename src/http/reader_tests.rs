//! Tables and properties of the request reader: every case is cut at every 1, 2, 3 and all bytes.

use proptest::prelude::*;

use super::*;

/// Requests of `input`, fed in pieces of `step` bytes, and the error that ended it.
fn read(input: &[u8], step: usize, limits: Limits) -> (Vec<Request>, usize, Option<RequestError>) {
    let mut reader = RequestReader::new(limits);
    let (mut requests, mut continues) = (Vec::new(), 0);
    let most = limits.head_bytes + HTTP_READ_BYTES + limits.body_bytes;
    for mut piece in input.chunks(step) {
        while !piece.is_empty() {
            let taken = reader.feed(piece);
            assert!(taken > 0, "there is room after More");
            piece = piece.get(taken..).unwrap();
            loop {
                assert!(reader.held() <= most);
                match reader.step() {
                    Ok(Step::More) => break,
                    Ok(Step::Continue) => continues += 1,
                    Ok(Step::Request(request)) => {
                        assert!(request.body.len() <= limits.body_bytes);
                        requests.push(request);
                    }
                    Err(error) => return (requests, continues, Some(error)),
                }
            }
        }
    }
    (requests, continues, None)
}

fn cuts(input: &[u8]) -> [usize; 4] {
    [1, 2, 3, input.len().max(1)]
}

/// Every cut of `input` gives the requests `METHOD path?query|body`, with `+` in front when the connection stays open.
fn check(input: &str, wanted: &[&str]) {
    for step in cuts(input.as_bytes()) {
        let (requests, _, error) = read(input.as_bytes(), step, Limits::tiny());
        assert_eq!(error, None, "{input:?} by {step}");
        let got: Vec<String> = requests
            .iter()
            .map(|r| {
                let keep = if r.keep_alive { "+" } else { "" };
                let query = r.query.as_ref().map(|q| format!("?{q}"));
                let body = String::from_utf8_lossy(&r.body);
                format!(
                    "{keep}{:?} {}{}|{body}",
                    r.method,
                    r.path,
                    query.unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(got, wanted, "{input:?} by {step}");
    }
}

fn check_error(input: &str, status: u16) {
    for step in cuts(input.as_bytes()) {
        let (_, _, error) = read(input.as_bytes(), step, Limits::tiny());
        let error = error.unwrap_or_else(|| panic!("{input:?} by {step} is read"));
        assert_eq!(error.status(), status, "{input:?} by {step}: {error}");
    }
}

#[test]
fn requests() {
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &["+Get /|"]);
    check("GET /m?x=y HTTP/1.1\r\nhost:\r\n\r\n", &["+Get /m?x=y|"]);
    check("\r\n\r\nHEAD / HTTP/1.1\nHOST:a\n\n", &["+Head /|"]);
    check(
        "GET http://a:1/m?q HTTP/1.1\r\nHost: a\r\n\r\n",
        &["+Get /m?q|"],
    );
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &["+Other *|"]);
    check("get / HTTP/1.1\r\nHost: a\r\n\r\n", &["+Other /|"]);
    check("GET / HTTP/1.1\r\nHost: a", &[]);
}

#[test]
fn bodies() {
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        &["+Post /|hello"],
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        &["+Post /|"],
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 2\r\nContent-Length: 02\r\n\r\nok",
        &["+Post /|ok"],
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n",
        &["+Post /|ok!"],
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
        &[],
    );
}

#[test]
fn pipelined_requests() {
    check(
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokDELETE /3 HTTP/1.1\r\nHost: a\r\n\r\n\r\nPUT /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
        &["+Get /1|", "+Post /2|ok", "+Delete /3|", "+Put /4|"],
    );
}

#[test]
fn keep_alive() {
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        &["Get /|"],
    );
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: te, Close\r\n\r\n",
        &["Get /|"],
    );
    check("GET / HTTP/1.0\r\n\r\n", &["Get /|"]);
    check(
        "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        &["+Get /|"],
    );
    check(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        &["Get /|"],
    );
}

#[test]
fn not_http() {
    check_error("\x16\x03\x01", 400);
    check_error("hello\r\n", 400);
    check_error("GET /\r\n", 400);
    check_error("GET  / HTTP/1.1\r\n", 400);
    check_error("GET / HTTP/1.1\r\nHost : a\r\n", 400);
    check_error("GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n", 400);
    check_error("GET / HTTP/1.1\r\nHost: a\0\r\n", 400);
    check_error("GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n", 400);
    check_error("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

#[test]
fn contradictions() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    check_error("GET / HTTP/1.1\r\n\r\n", 400);
    check_error(&post("Host: b"), 400);
    check_error(&post("Content-Length: 1\r\nContent-Length: 2"), 400);
    check_error(&post("Content-Length: 1, 1"), 400);
    check_error(&post("Content-Length: +1"), 400);
    check_error(&post("Content-Length: -1"), 400);
    check_error(&post("Content-Length:"), 400);
    check_error(
        &post("Content-Length: 0\r\nTransfer-Encoding: chunked"),
        400,
    );
    check_error(
        &post("Transfer-Encoding: chunked\r\nContent-Length: 3"),
        400,
    );
    check_error(&post("Transfer-Encoding: chunked, chunked"), 400);
    check_error(&post("Transfer-Encoding: gzip, chunked"), 501);
    check_error(&post("Transfer-Encoding: identity"), 501);
    check_error(&post("Transfer-Encoding: chunked\r\n\r\nzz"), 400);
    check_error(&post("Expect: tea"), 417);
    check_error("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

#[test]
fn limits_of_head_and_body() {
    let head = |bytes: usize| {
        let line = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{line}{}\r\n\r\n", "x".repeat(bytes - line.len() - 4))
    };
    let limits = Limits::tiny();
    check(&head(limits.head_bytes), &["+Get /|"]);
    check_error(&head(limits.head_bytes + 1), 431);
    check_error(&format!("GET /{}", "x".repeat(limits.head_bytes)), 431);
    check_error(
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "x:\r\n".repeat(65)),
        431,
    );
    let post = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let full = "x".repeat(64);
    check(
        &format!("{}{full}", post("Content-Length: 64")),
        &[&format!("+Post /|{full}")],
    );
    check_error(&post("Content-Length: 65"), 413);
    check_error(&post("Content-Length: 99999999999999999999999999"), 413);
    check_error(
        &format!("{}41\r\n", post("Transfer-Encoding: chunked")),
        413,
    );
    check_error(
        &format!("{}40\r\n{full}\r\n1", post("Transfer-Encoding: chunked")),
        413,
    );
    check_error(
        &format!(
            "{}1;{}",
            post("Transfer-Encoding: chunked"),
            "x".repeat(300)
        ),
        431,
    );
}

#[test]
fn a_client_that_waits_to_continue_is_told_once_and_only_when_its_body_is_missing() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    let whole = format!("{head}ok");
    let limits = Limits::tiny();
    let (requests, continues, error) = read(whole.as_bytes(), 1, limits);
    assert_eq!((requests.len(), continues, error), (1, 1, None));
    let (requests, continues, error) = read(whole.as_bytes(), whole.len(), limits);
    assert_eq!((requests.len(), continues, error), (1, 0, None));
    let without = head.replace("h: 2", "h: 0");
    let (requests, continues, error) = read(without.as_bytes(), 1, limits);
    assert_eq!((requests.len(), continues, error), (1, 0, None));
    let too_large = head.replace("h: 2", "h: 65");
    let (_, continues, error) = read(too_large.as_bytes(), 1, limits);
    assert_eq!((continues, error.unwrap().status()), (0, 413));
}

/// Pieces that steer the random input towards the inside of the reader.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "Host: a\r\n",
        "\r\n",
        "\n",
        "\r",
        "Content-Length: 7\r\n",
        "Content-Length: 99999\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "7\r\nabcdefg\r\n",
        "0\r\n\r\n",
        "abcdefg",
        "ffffffffffffffff",
        ";",
        ":",
    ];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_read_alike_in_any_cut(pieces in prop::collection::vec(piece(), 0..40), step in 1usize..40) {
        let input = pieces.concat();
        let (whole, _, error) = read(&input, input.len().max(1), Limits::tiny());
        let (cut, _, cut_error) = read(&input, step, Limits::tiny());
        // A head that is over the limit may be told by another error when it came whole: only the fact must agree.
        prop_assert_eq!(error.is_some(), cut_error.is_some());
        prop_assert_eq!(whole, cut);
    }
}
