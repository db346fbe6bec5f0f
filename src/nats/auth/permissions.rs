//! What a user may publish and subscribe to. Source: nats-server's `authorization` block (`permissions`, `allow_responses`).

use std::time::Duration;

use crate::nats::subject;

/// What a user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects of publishes.
    pub publish: Rules,
    /// Subjects of subscriptions; a pattern may name queue groups behind a blank: `orders.> workers.*`.
    pub subscribe: Rules,
    /// Answers to requests that the client was sent are allowed besides.
    pub responses: Option<Responses>,
}

/// What is allowed and what not; what is not allowed by a list that is there, or is denied, is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `None`: everything.
    pub allow: Option<Vec<String>>,
    /// This not, whatever `allow` says.
    pub deny: Vec<String>,
}

/// Publishing to the reply subject of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Answers to each request; negative: any number.
    pub max: i64,
    /// Time for them; zero: any.
    pub expires: Duration,
}

impl Default for Responses {
    /// nats-server's: one answer within two minutes.
    fn default() -> Self {
        Self {
            max: 1,
            expires: Duration::from_secs(120),
        }
    }
}

/// A pattern, and the queue groups that it is about.
fn split(rule: &str) -> (&[u8], Option<&[u8]>) {
    match rule.split_once([' ', '\t']) {
        Some((subject, queue)) => (subject.as_bytes(), Some(queue.trim().as_bytes())),
        None => (rule.as_bytes(), None),
    }
}

/// Every subject that `inner` stands for is one that `outer` stands for.
fn covers(outer: &[u8], inner: &[u8]) -> bool {
    let mut outer = outer.split(|&b| b == b'.');
    let mut inner = inner.split(|&b| b == b'.');
    loop {
        match (outer.next(), inner.next()) {
            (None, None) => return true,
            (Some(b">"), Some(token)) => {
                return !token.is_empty() && inner.all(|token| !token.is_empty());
            }
            (Some(b"*"), Some(token)) if token != b">" && !token.is_empty() => {}
            (Some(a), Some(b)) if a == b && !matches!(a, b"*" | b">") => {}
            _ => return false,
        }
    }
}

impl Rules {
    /// Nothing is refused.
    pub fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Whether a message on the literal `subject` is allowed.
    fn allows(&self, subject: &[u8]) -> bool {
        let fits = |rule: &String| subject::matches(rule.as_bytes(), subject);
        self.allow
            .as_ref()
            .is_none_or(|allow| allow.iter().any(fits))
            && !self.deny.iter().any(fits)
    }

    /// Whether a subscription is. Messages on denied subjects within a wildcard are left out later ([`Permissions::may_get`]).
    fn allows_subscription(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        // With a queue group the rules that name groups decide, if there are any for this subject.
        let decides = |rules: &[String]| {
            let mut here = rules
                .iter()
                .map(|rule| split(rule))
                .filter(|(subject, _)| covers(subject, pattern));
            let Some(queue) = queue else {
                return here.any(|(_, groups)| groups.is_none());
            };
            let (with, without): (Vec<_>, Vec<_>) = here.partition(|(_, groups)| groups.is_some());
            if with.is_empty() {
                return !without.is_empty();
            }
            let mut groups = with.iter().filter_map(|(_, groups)| *groups);
            groups.any(|group| subject::matches(group, queue))
        };
        self.allow.as_deref().is_none_or(decides) && !decides(&self.deny)
    }
}

impl Permissions {
    /// Whether the client may publish to `subject`, an answer to a request apart.
    pub fn may_publish(&self, subject: &[u8]) -> bool {
        self.publish.allows(subject)
    }

    /// Whether the client may subscribe to `pattern`, in `queue` if it is one.
    pub fn may_subscribe(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        self.subscribe.allows_subscription(pattern, queue)
    }

    /// Whether a message on `subject` may be sent to a client that is subscribed to a pattern with it.
    pub fn may_get(&self, subject: &[u8]) -> bool {
        let mut denied = self.subscribe.deny.iter().map(|rule| split(rule));
        !denied.any(|(rule, groups)| groups.is_none() && subject::matches(rule, subject))
    }

    /// Some messages within a wildcard are not for the client.
    pub fn filters(&self) -> bool {
        !self.subscribe.deny.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: Option<&[&str]>, deny: &[&str]) -> Rules {
        let owned = |list: &[&str]| list.iter().map(|&rule| rule.to_owned()).collect();
        Rules {
            allow: allow.map(owned),
            deny: owned(deny),
        }
    }

    #[test]
    fn publishing() {
        let open = rules(None, &[]);
        let some = rules(Some(&["a.*", "b.>"]), &["b.secret", "*.x"]);
        let none = rules(Some(&[]), &[]);
        for (subject, by_some) in [
            ("a.1", true),
            ("a.x", false),
            ("a.1.2", false),
            ("b.1.2", true),
            ("b.secret", false),
            ("b.secret.2", true),
            ("c", false),
        ] {
            let subject = subject.as_bytes();
            assert!(open.allows(subject) && !none.allows(subject));
            assert_eq!(some.allows(subject), by_some, "{subject:?}");
        }
    }

    #[test]
    fn subscribing() {
        let permissions = Permissions {
            subscribe: rules(
                Some(&["a.*", "q workers.*", "r", "r special"]),
                &["a.secret", "q workers.bad", "wild.>"],
            ),
            ..Permissions::default()
        };
        for (pattern, queue, expected) in [
            ("a.1", None, true),
            ("a.*", None, true),
            ("a.>", None, false),
            (">", None, false),
            ("a.secret", None, false),
            ("a.1", Some("any"), true),
            ("q", None, false),
            ("q", Some("workers.1"), true),
            ("q", Some("workers.bad"), false),
            ("q", Some("others"), false),
            ("r", None, true),
            ("r", Some("special"), true),
            ("r", Some("other"), false),
        ] {
            let queue = queue.map(str::as_bytes);
            let may = permissions.may_subscribe(pattern.as_bytes(), queue);
            assert_eq!(may, expected, "{pattern} {queue:?}");
        }
        assert!(permissions.filters());
        assert!(permissions.may_get(b"a.1") && !permissions.may_get(b"a.secret"));
        assert!(permissions.may_get(b"q"), "only for a group");
    }

    #[test]
    fn a_pattern_covers_what_is_a_part_of_it() {
        for (outer, inner, expected) in [
            ("a", "a", true),
            ("*", "a", true),
            ("*", ">", false),
            (">", "*", true),
            ("a.>", "a.*.b", true),
            ("a.*", "a.>", false),
            ("a.*.c", "a.*.c", true),
            ("a", "a.b", false),
            (">", ".", false),
            ("a.>", "a.b..c", false),
        ] {
            let covers = covers(outer.as_bytes(), inner.as_bytes());
            assert_eq!(covers, expected, "{outer} {inner}");
        }
    }
}
