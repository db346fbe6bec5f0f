//! Thread `log-connector`: makes remote log sinks, which may take long: names are looked up, Kubernetes is asked, connections are opened.
//! So `log_sender` never waits for any of it.
//!
//! In: `requests` (`log_sender`). Out: `made` (`log_sender`; there is one request at a time, and room for its answer).
//! Ends when `log_sender` has dropped its sender.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use crate::logs::remote::connect::Connector;
use crate::logs::remote::wanted::Wanted;
use crate::logs::remote::{Remote, RemoteError};
use crate::threads::spawn::{Notice, spawn};

/// What `log_sender` asks for.
pub enum Request {
    /// A sink.
    Make {
        /// Comes back with the answer.
        number: u64,
        /// Which one.
        target: Wanted,
    },
    /// The end of a sink, which may take as long.
    End(Box<dyn Remote + Send>),
}

/// What became of a request.
pub struct Connection {
    /// Its number.
    pub number: u64,
    /// The sink, which works.
    pub sink: Result<Box<dyn Remote + Send>, RemoteError>,
}

/// What the thread owns.
pub struct LogConnector {
    /// From `log_sender`.
    pub requests: Receiver<Request>,
    /// To `log_sender`.
    pub made: Sender<Connection>,
    /// Knows how.
    pub connector: Connector,
}

impl LogConnector {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(mut self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("log-connector", notices, move || {
            for request in &self.requests {
                match request {
                    Request::End(sink) => drop(sink),
                    Request::Make { number, target } => {
                        let sink = self.connector.connect(&target);
                        if self.made.send(Connection { number, sink }).is_err() {
                            break;
                        }
                    }
                }
            }
        })
    }
}
