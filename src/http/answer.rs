//! Between the server and the routes: who answers, when, and how a later answer gets back.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Request, Response};

/// Which listener a request came in through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `CIM_REST_BIND`: everything.
    All,
    /// `CIM_METRICS_BIND`: `/metrics`, `/healthz` and `/readyz` alone.
    MetricsOnly,
}

/// The answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// Here it is.
    Now(Response),
    /// It will come, made by [`later`]. The connection waits `Limits::request_time`, nobody else does.
    Later(Receiver<Response>),
}

/// Answers requests. It runs on the server's thread: what takes longer than a moment is an [`Answer::Later`].
pub trait Handler: Send {
    /// The answer to `request`.
    fn answer(&mut self, scope: Scope, request: &Request, wake: &Wake) -> Answer;

    /// Does what is due at `now`; returns when the next such thing is. The server's thread wakes up for it.
    fn tick(&mut self, _now: Instant) -> Option<Instant> {
        None
    }
}

/// Wakes the server's thread.
#[derive(Clone)]
pub struct Wake(Arc<dyn Fn() + Send + Sync>);

impl Wake {
    /// `wake` must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

/// Gives the answer that was promised with [`Answer::Later`]. Dropped without one, the client gets a 500.
pub struct Replier {
    sender: Option<Sender<Response>>,
    change: Option<Box<dyn FnOnce(Response) -> Response + Send>>,
    wake: Wake,
}

impl std::fmt::Debug for Replier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replier")
    }
}

impl Replier {
    /// The same, for an answer that is to be changed on its way.
    #[must_use]
    pub fn with(self, change: impl FnOnce(Response) -> Response + Send + 'static) -> Self {
        let mut changing = self;
        changing.change = Some(Box::new(change));
        changing
    }

    /// Sends `response`. It is dropped when the client has gone.
    pub fn send(mut self, response: Response) {
        if let Some(sender) = self.sender.take() {
            let response = match self.change.take() {
                Some(change) => change(response),
                None => response,
            };
            // Room for one, and one is sent: an error says that the connection was closed.
            let _ = sender.try_send(response);
        }
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        // Before the wake-up, so that the server finds the answer, or the channel closed.
        self.sender = None;
        (self.wake.0)();
    }
}

/// A promise of an answer, and the means to keep it from any thread.
pub fn later(wake: &Wake) -> (Replier, Answer) {
    let (sender, receiver) = bounded(1);
    let replier = Replier {
        sender: Some(sender),
        change: None,
        wake: wake.clone(),
    };
    (replier, Answer::Later(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What the server finds when it is woken.
    fn found_when_woken(keep: impl FnOnce(Replier)) -> Vec<Option<u16>> {
        let receiver: Arc<Mutex<Option<Receiver<Response>>>> = Arc::default();
        let found: Arc<Mutex<Vec<Option<u16>>>> = Arc::default();
        let wake = {
            let (receiver, found) = (receiver.clone(), found.clone());
            Wake::new(move || {
                let answer = receiver.lock().unwrap().as_ref().unwrap().try_recv();
                assert_ne!(answer, Err(crossbeam_channel::TryRecvError::Empty));
                found.lock().unwrap().push(answer.ok().map(|r| r.status));
            })
        };
        let (replier, Answer::Later(answer)) = later(&wake) else {
            panic!("not a promise");
        };
        *receiver.lock().unwrap() = Some(answer);
        keep(replier);
        let found = found.lock().unwrap();
        found.clone()
    }

    #[test]
    fn the_server_is_woken_once_the_answer_is_there_or_never_will_be() {
        let kept = found_when_woken(|replier| replier.send(Response::error(404, "x")));
        assert_eq!(kept, [Some(404)]);
        assert_eq!(found_when_woken(drop), [None]);
    }
}
