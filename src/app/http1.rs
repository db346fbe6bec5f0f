//! HTTP/1.1 by ureq. It never sends a request twice by itself.
//!
//! Before ureq uses an idle connection again it looks whether the peer has closed it: an application that was started anew
//! since is connected to anew. Only when the close comes in the microseconds between that look and the request does the call
//! break; then nobody can know whether the request was handled, and the error says so.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};
use ureq::{Agent, Body, Error};

use super::CONTENT_TYPE;
use super::client::AppAnswer;
use super::error::AppError;
use crate::http_agent;
use crate::limits::{
    APP_ANSWER_BYTES, APP_ANSWER_TEXT_TIME, APP_CONNECT_TIME, APP_HEAD_BYTES, APP_IDLE_TIME,
};
use crate::resolver::LocalResolver;

/// A client with at most one idle connection.
pub struct Http1 {
    agent: Agent,
    /// Something of the call in progress was handed to a socket.
    sent: Arc<AtomicBool>,
}

impl Http1 {
    pub fn new() -> Self {
        let config = http_agent::config(APP_HEAD_BYTES)
            .accept("")
            .accept_encoding("")
            .max_idle_age(APP_IDLE_TIME)
            .timeout_connect(Some(APP_CONNECT_TIME))
            .timeout_recv_body(Some(APP_ANSWER_TEXT_TIME))
            .build();
        let sent = Arc::new(AtomicBool::new(false));
        let connector = Watching {
            tcp: TcpConnector::default(),
            sent: Arc::clone(&sent),
        };
        Self {
            agent: Agent::with_parts(config, connector, LocalResolver::default()),
            sent,
        }
    }

    /// Shares its connections.
    pub fn agent(&self) -> Agent {
        self.agent.clone()
    }

    /// See [`super::AppClient::post`].
    pub fn post(
        &mut self,
        base: &str,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<AppAnswer, AppError> {
        self.sent.store(false, Ordering::Relaxed);
        let request = self
            .agent
            .post(format!("{base}{path}"))
            .content_type(CONTENT_TYPE)
            .config()
            .timeout_global(Some(timeout))
            .build();
        let mut response = request
            .send(body)
            .map_err(|error| self.failed(base, timeout, error))?;
        let text = text(response.body_mut());
        Ok(AppAnswer::new(response.status().as_u16(), &text))
    }

    fn failed(&self, base: &str, timeout: Duration, error: Error) -> AppError {
        let url = base.to_owned();
        let sent = self.sent.load(Ordering::Relaxed);
        match error {
            Error::BadUri(_) | Error::Http(_) => AppError::InvalidUrl { url },
            source if !sent => AppError::Refused {
                url,
                source: source.into(),
            },
            Error::Timeout(_) => AppError::TimedOut {
                url,
                after: timeout,
                sent,
            },
            source => AppError::Broken {
                url,
                sent,
                source: source.into(),
            },
        }
    }
}

/// The text of an answer, as far as it comes in time and within its bound. Its connection is used again when it was read to
/// its end, and closed otherwise.
fn text(body: &mut Body) -> Vec<u8> {
    let mut text = Vec::new();
    // An error is the end of the text: the status has come, and it is the answer.
    let _: io::Result<usize> = body
        .as_reader()
        .take(APP_ANSWER_BYTES as u64 + 1)
        .read_to_end(&mut text);
    text.truncate(APP_ANSWER_BYTES);
    text
}

/// Notes when something is sent: what fails before was certainly not handled.
#[derive(Debug)]
struct Watching {
    tcp: TcpConnector,
    sent: Arc<AtomicBool>,
}

impl Connector<()> for Watching {
    type Out = Watched;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let connected = self.tcp.connect(details, chained)?;
        Ok(connected.map(|transport| Watched {
            transport: Box::new(transport),
            sent: Arc::clone(&self.sent),
        }))
    }
}

#[derive(Debug)]
struct Watched {
    transport: Box<dyn Transport>,
    sent: Arc<AtomicBool>,
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.sent.store(true, Ordering::Relaxed);
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }
}
