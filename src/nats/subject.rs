//! Subjects: tokens separated by dots; in a subscription `*` stands for one token, `>` at the end for one or more.

/// Whether a client may subscribe to `subject`: no empty token, no blank, `>` only as the last token.
pub fn is_valid(subject: &[u8]) -> bool {
    let mut tokens = subject.split(|&b| b == b'.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty()
            || token
                .iter()
                .any(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
            || (token == b">" && tokens.peek().is_some())
        {
            return false;
        }
    }
    true
}

/// Whether `subject` names one subject: no empty token and no wildcard.
pub fn is_literal(subject: &[u8]) -> bool {
    subject
        .split(|&b| b == b'.')
        .all(|token| !matches!(token, b"" | b"*" | b">"))
}

/// Whether a valid `pattern` takes messages on the literal `subject`.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut tokens = subject.split(|&b| b == b'.');
    let mut patterns = pattern.split(|&b| b == b'.');
    loop {
        match (patterns.next(), tokens.next()) {
            (None, None) => return true,
            (Some(b">"), Some(token)) => {
                return !token.is_empty() && tokens.all(|token| !token.is_empty());
            }
            (Some(b"*"), Some(token)) if !token.is_empty() => {}
            (Some(pattern), Some(token)) if pattern == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn validity() {
        for (subject, valid, literal) in [
            ("a", true, true),
            ("a.b.c", true, true),
            ("a.*.c", true, false),
            ("a.>", true, false),
            (">", true, false),
            ("*", true, false),
            ("a.>.c", false, false),
            ("", false, false),
            (".", false, false),
            (".a", false, false),
            ("a.", false, false),
            ("a..b", false, false),
            ("a b", false, true),
            ("foo*", true, true),
            ("foo.**.bar", true, true),
            (">>", true, true),
        ] {
            assert_eq!(is_valid(subject.as_bytes()), valid, "valid {subject:?}");
            assert_eq!(
                is_literal(subject.as_bytes()),
                literal,
                "literal {subject:?}"
            );
        }
    }

    #[test]
    fn matching() {
        for (pattern, subject, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("*.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*.c", "a.b.c", true),
            (">", "a.b.c", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("*.>", "a", false),
            ("foo*", "foobar", false),
            ("foo*", "foo*", true),
            ("a.>", "a.", false),
            (">", "a..b", false),
            (">", ".", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), subject.as_bytes()),
                expected,
                "{pattern} {subject}"
            );
        }
    }

    /// The model: recursion over token lists.
    fn model(pattern: &[&str], subject: &[&str]) -> bool {
        match (pattern, subject) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", p @ ..], [_, s @ ..]) => model(p, s),
            ([a, p @ ..], [b, s @ ..]) => a == b && model(p, s),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_in_the_model(
            mut pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "*"]), 1..6),
            tail in any::<bool>(),
            subject in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..6),
        ) {
            if tail {
                pattern.push(">");
            }
            let text = pattern.join(".");
            prop_assert!(is_valid(text.as_bytes()));
            prop_assert_eq!(matches(text.as_bytes(), subject.join(".").as_bytes()), model(&pattern, &subject));
        }
    }
}
