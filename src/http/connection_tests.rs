//! The life of a connection, with a clock made of numbers.

use super::*;

struct Client {
    conn: Connection,
    start: Instant,
    /// Milliseconds since the start.
    at: u64,
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";

impl Client {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            conn: Connection::new(Limits::tiny(), start),
            start,
            at: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.at)
    }

    fn send(&mut self, text: &str) {
        let now = self.now();
        assert!(self.conn.room() >= text.len());
        self.conn.received(text.as_bytes(), now);
    }

    /// The path of the next request.
    fn next(&mut self) -> Option<String> {
        let now = self.now();
        self.conn.next_request(now).unwrap().map(|r| r.path)
    }

    fn answer(&mut self, status: u16) {
        let now = self.now();
        let response = Response::error(status, "x");
        self.conn.answer(&response, now, SystemTime::UNIX_EPOCH);
    }

    /// Takes all that is there to write: its first line, and whether the write side is to be shut.
    fn take(&mut self) -> (String, bool) {
        let now = self.now();
        let text = String::from_utf8(self.conn.to_write().to_vec()).unwrap();
        let shut = self.conn.wrote(text.len(), now);
        let line = text.lines().next().unwrap_or_default().to_owned();
        (line, shut)
    }

    fn deadline_ms(&self) -> u128 {
        (self.conn.deadline() - self.start).as_millis()
    }

    fn expire(&mut self) -> Deadline {
        let now = self.now();
        self.conn.expire(now)
    }

    fn class(&self) -> Expendable {
        self.conn.expendable(self.now()).0
    }
}

#[test]
fn requests_are_answered_one_at_a_time_in_order() {
    let mut c = Client::new();
    c.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /3");
    assert_eq!(c.next().unwrap(), "/1");
    assert_eq!(c.next(), None, "not before the first is answered");
    assert_eq!(c.conn.room(), 0, "nor is more read");
    c.answer(200);
    assert_eq!(c.next(), None);
    assert!(!c.conn.wrote(5, c.start), "part of it");
    assert_eq!(c.conn.room(), 0);
    assert!(!c.take().1);
    assert_eq!(c.next().unwrap(), "/2");
    c.answer(200);
    assert_eq!(c.take(), ("HTTP/1.1 200 OK".into(), true));
    assert_eq!(c.next(), None, "the third comes after the last");
    assert_eq!((c.class(), c.conn.end()), (Expendable::Done, None));
    c.send("dropped");
    assert_eq!(c.conn.held(), 0);
    c.conn.client_closed();
    assert_eq!(c.conn.end(), Some(End::Orderly));
}

#[test]
fn a_bad_request_is_the_last() {
    let mut c = Client::new();
    c.send("hello\r\n");
    let now = c.now();
    let error = c.conn.next_request(now).unwrap_err();
    c.answer(error.status());
    assert!(c.conn.to_write().ends_with(b"{\"error\":\"x\"}\n"));
    assert_eq!(c.take(), ("HTTP/1.1 400 Bad Request".into(), true));
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    let mut c = Client::new();
    c.send(&format!("{GET}{GET}"));
    c.conn.client_closed();
    for shut in [false, false] {
        assert_eq!(c.next().unwrap(), "/");
        c.answer(200);
        assert_eq!(c.take().1, shut);
    }
    assert_eq!((c.next(), c.conn.end()), (None, Some(End::Orderly)));
}

#[test]
fn a_client_that_leaves() {
    for (sent, end) in [
        ("", End::Orderly),
        ("GET", End::ClientClosed),
        (POST, End::ClientClosed),
    ] {
        let mut c = Client::new();
        c.send(sent);
        c.conn.client_closed();
        assert_eq!((c.next(), c.conn.end()), (None, Some(end)), "{sent}");
    }
}

#[test]
fn continue_is_written_in_the_middle_of_the_request() {
    let mut c = Client::new();
    c.send(&POST.replace("Host", "Expect: 100-continue\r\nHost"));
    assert_eq!(c.next(), None);
    assert_eq!(c.take(), ("HTTP/1.1 100 Continue".into(), false));
    c.send("body");
    assert_eq!(c.next().unwrap(), "/");
}

#[test]
fn a_whole_request_has_one_deadline_however_it_trickles() {
    let mut c = Client::new();
    assert_eq!(c.deadline_ms(), 200, "from the start of the connection");
    for byte in [
        "P",
        "OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
        "a",
        "b",
    ] {
        c.at += 40;
        c.send(byte);
        assert_eq!((c.next(), c.deadline_ms()), (None, 200));
    }
    c.at = 199;
    assert_eq!(c.expire(), Deadline::Ahead);
    c.at = 200;
    assert_eq!(c.expire(), Deadline::Answer(408));
    c.answer(408);
    assert_eq!(c.take(), ("HTTP/1.1 408 Request Timeout".into(), true));
    assert_eq!(c.deadline_ms(), 300, "the rest is read for a while");
    c.at = 300;
    assert_eq!(c.expire(), Deadline::Close(End::Orderly));
}

#[test]
fn a_connection_without_a_byte_is_closed_without_a_word() {
    let mut c = Client::new();
    c.at = 200;
    assert_eq!(c.expire(), Deadline::Close(End::Orderly));
}

#[test]
fn deadlines_between_requests_and_while_writing() {
    let mut c = Client::new();
    c.send(GET);
    c.next();
    c.at = 150;
    assert_eq!(c.deadline_ms(), 200, "for the answer to be made");
    c.answer(200);
    assert_eq!(c.deadline_ms(), 350, "for it to be read");
    c.at = 160;
    c.take();
    assert_eq!(c.deadline_ms(), 560, "until the next request");
    c.at = 500;
    c.send("\r\n");
    assert_eq!((c.next(), c.conn.held()), (None, 0));
    c.send("G");
    assert_eq!(c.deadline_ms(), 700);
    c.send("ET / HTTP/1.1\r\nHost: a\r\n\r\n");
    c.next();
    c.answer(200);
    c.conn.wrote(10, c.now());
    c.at = 700;
    assert_eq!(c.expire(), Deadline::Close(End::SlowReader));
}

#[test]
fn an_answer_that_does_not_come_is_a_504() {
    let mut c = Client::new();
    c.send(GET);
    c.next();
    c.at = 200;
    assert_eq!(c.expire(), Deadline::Answer(504));
    c.answer(504);
    assert_eq!(c.take(), ("HTTP/1.1 504 Gateway Timeout".into(), true));
}

#[test]
fn who_can_be_spared() {
    let mut c = Client::new();
    assert_eq!(c.class(), Expendable::Busy);
    c.at = 50;
    assert_eq!(c.class(), Expendable::Stuck);
    c.send(GET);
    c.next();
    assert_eq!(c.class(), Expendable::Answering);
    c.answer(200);
    c.at = 100;
    assert_eq!(c.class(), Expendable::Stuck, "does not read its answer");
    c.take();
    assert_eq!(c.class(), Expendable::Idle);
    c.at = 400;
    assert_eq!(c.class(), Expendable::Idle, "however long");
    c.send("G");
    assert_eq!(c.class(), Expendable::Busy);
    assert!(Expendable::Stuck > Expendable::Idle && Expendable::Idle > Expendable::Busy);
}

#[test]
fn a_stop_finishes_what_is_being_answered() {
    for (sent, end) in [("", End::Orderly), ("GET", End::Stopped)] {
        let mut c = Client::new();
        c.send(sent);
        c.next();
        c.conn.stop();
        assert_eq!(c.conn.end(), Some(end), "{sent}");
    }
    let mut c = Client::new();
    c.send(GET);
    c.next();
    c.conn.stop();
    assert_eq!(c.conn.end(), None);
    c.answer(200);
    assert!(String::from_utf8_lossy(c.conn.to_write()).contains("Connection: close\r\n"));
    assert!(c.take().1);
}

#[test]
fn only_a_request_in_progress_is_aborted() {
    let mut c = Client::new();
    c.conn.abort(End::CrowdedOut);
    assert_eq!(c.conn.end(), Some(End::Orderly));
    c.send("G");
    c.conn.abort(End::CrowdedOut);
    assert_eq!(c.conn.end(), Some(End::CrowdedOut));
}
