//! An error with all its causes as one line: the text of an error leaves its source out, whoever logs it prints the chain.

use std::error::Error;

/// `error`, and each cause after a colon.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("no answer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn every_cause_is_told_once() {
        let error = Outer(io::Error::other("connection reset"));
        assert_eq!(chain(&error), "no answer: connection reset");
    }
}
