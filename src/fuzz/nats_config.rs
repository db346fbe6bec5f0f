//! Configurations in nats-server's syntax.

use std::io;
use std::path::Path;

use super::{assert_showable, split_at_byte};
use crate::nats::config::{Authorization, ServerConfig, Sources, read};

/// The file, the one that any include gets, and the value of any variable of the environment.
struct Given<'a>([&'a [u8]; 3]);

impl Sources for Given<'_> {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let [first, included, _] = self.0;
        let is_first = path == Path::new("nats.conf");
        Ok(if is_first { first } else { included }.to_vec())
    }

    fn variable(&self, name: &str) -> Option<String> {
        let [_, _, value] = self.0;
        (name != "NONE").then(|| String::from_utf8_lossy(value).into_owned())
    }
}

/// Any bytes are refused with an error that may be shown, or give values that are the same the next time.
///
/// The input is a file; behind the first byte 0 one that any `include` gets, and behind a second one the value of any variable.
pub fn nats_config(data: &[u8]) {
    let (file, rest) = split_at_byte(data, 0);
    let (included, value) = split_at_byte(rest, 0);
    let given = Given([file, included, value]);
    let path = Path::new("nats.conf");
    match (read(path, &given), read(path, &given)) {
        (Ok(block), Ok(again)) => assert!(block == again),
        (Err(error), Err(again)) => {
            assert_showable(&error.to_string());
            assert_eq!(error.to_string(), again.to_string());
        }
        _ => panic!("read, and then not"),
    }
    if let Err(error) = ServerConfig::read(path, &given) {
        assert_showable(&error.to_string());
    }
    match Authorization::read(path, &given) {
        Ok(authorization) => assert!(authorization.is_required()),
        Err(error) => assert_showable(&error.to_string()),
    }
}
