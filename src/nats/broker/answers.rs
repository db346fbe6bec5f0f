//! Reply subjects that a client was sent and may publish to, although its permissions do not say so (`allow_responses`).

use std::collections::HashMap;
use std::time::Instant;

use crate::limits::ANSWERS_ALLOWED;
use crate::nats::auth::Responses;

#[derive(Debug)]
struct Allowed {
    since: Instant,
    used: i64,
}

impl Allowed {
    fn is_over(&self, responses: Responses, now: Instant) -> bool {
        let is_late = !responses.expires.is_zero()
            && now.saturating_duration_since(self.since) > responses.expires;
        is_late || (responses.max > 0 && self.used >= responses.max)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<Box<[u8]>, Allowed>);

impl Answers {
    /// The client was sent a request. One with the reply subject of another that is not answered yet adds nothing: as in nats-server, it
    /// counts as an answer to that.
    pub(super) fn expect(&mut self, reply: &[u8], responses: Responses, now: Instant) {
        if self.take(reply, Some(responses), now) {
            return;
        }
        if self.0.len() >= ANSWERS_ALLOWED {
            self.0.retain(|_, allowed| !allowed.is_over(responses, now));
        }
        if self.0.len() < ANSWERS_ALLOWED {
            let allowed = Allowed {
                since: now,
                used: 0,
            };
            self.0.insert(reply.into(), allowed);
        }
    }

    /// Whether the client may publish to `subject` as an answer; it counts as one.
    pub(super) fn take(
        &mut self,
        subject: &[u8],
        responses: Option<Responses>,
        now: Instant,
    ) -> bool {
        let Some(responses) = responses else {
            return false;
        };
        let Some(allowed) = self.0.get_mut(subject) else {
            return false;
        };
        let is_allowed = !allowed.is_over(responses, now);
        allowed.used += 1;
        if allowed.is_over(responses, now) {
            self.0.remove(subject);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn as_many_answers_as_are_allowed_within_their_time() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let responses = Responses {
            max: 2,
            expires: Duration::from_secs(10),
        };
        let mut answers = Answers::default();
        for reply in [b"a", b"b"] {
            answers.expect(reply, responses, start);
        }
        let mut take = |subject: &[u8], at| answers.take(subject, Some(responses), later(at));
        assert_eq!(
            [take(b"a", 0), take(b"a", 1), take(b"a", 2)],
            [true, true, false]
        );
        assert!(take(b"b", 10) && !take(b"b", 11) && !take(b"c", 0));
        assert!(!answers.take(b"b", None, start));
        let any = Responses {
            max: -1,
            expires: Duration::ZERO,
        };
        answers.expect(b"x", any, start);
        assert!((0..100).all(|n| answers.take(b"x", Some(any), later(n * 1000))));
    }

    #[test]
    fn their_number_is_bounded() {
        let now = Instant::now();
        let responses = Responses::default();
        let mut answers = Answers::default();
        for n in 0..2 * ANSWERS_ALLOWED {
            answers.expect(n.to_string().as_bytes(), responses, now);
        }
        assert_eq!(answers.0.len(), ANSWERS_ALLOWED);
        assert!(answers.take(b"0", Some(responses), now));
        let late = now + 2 * responses.expires;
        answers.expect(b"late", responses, late);
        assert_eq!(answers.0.len(), ANSWERS_ALLOWED, "there was one free place");
        answers.expect(b"later", responses, late);
        assert_eq!(answers.0.len(), 2);
    }
}
