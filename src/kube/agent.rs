//! ureq's agent, made when it is needed, given up when it is not, and closed from another thread when CIM stops.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;
use ureq::unversioned::transport::{Connector, RustlsConnector};

use crate::http_agent::{self, QuickTcp};
use crate::limits::{KUBE_BUFFER_BYTES, KUBE_CONNECT_TIME};
use crate::resolver::CachingResolver;

/// A place for one agent.
#[derive(Debug, Default)]
pub struct Agents(Arc<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    agent: Option<Agent>,
    closed: bool,
}

/// Ends the call that is under way, and refuses all further ones.
#[derive(Debug, Clone)]
pub struct Closer(Arc<Mutex<Slot>>);

/// [`Closer::close`] was called.
#[derive(Debug)]
pub struct Closed;

impl Agents {
    /// The agent, made by `make` when there is none.
    ///
    /// # Errors
    /// What `make` says, or that the place is closed.
    pub fn get<E: From<Closed>>(
        &self,
        make: impl FnOnce() -> Result<Agent, E>,
    ) -> Result<Agent, E> {
        let mut slot = lock(&self.0);
        if slot.closed {
            return Err(Closed.into());
        }
        let agent = match slot.agent.take() {
            Some(agent) => agent,
            None => make()?,
        };
        slot.agent = Some(agent.clone());
        Ok(agent)
    }

    /// Closes the idle sockets and gives the memory back; the next call makes an agent again.
    pub fn rest(&self) {
        lock(&self.0).agent = None;
    }

    /// [`Closer::close`] was called.
    pub fn is_closed(&self) -> bool {
        lock(&self.0).closed
    }

    /// What closes this place.
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.0))
    }
}

impl Closer {
    /// Closes every socket; the call that is under way fails at once, unless it looks up a name or waits for a TCP connection
    /// (at most [`KUBE_CONNECT_TIME`] each).
    pub fn close(&self) {
        let agent = {
            let mut slot = lock(&self.0);
            slot.closed = true;
            slot.agent.take()
        };
        if let Some(agent) = agent {
            agent.shutdown();
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    // Nothing that panics runs under this lock.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every agent here has in common: no proxy, no redirects, statuses as answers, small buffers.
pub fn config() -> ConfigBuilder<AgentScope> {
    http_agent::config(KUBE_BUFFER_BYTES)
        .accept("application/json")
        .timeout_resolve(Some(KUBE_CONNECT_TIME))
}

/// An agent whose TCP connections take at most [`KUBE_CONNECT_TIME`].
pub fn agent(config: ConfigBuilder<AgentScope>) -> Agent {
    let connector = ().chain(QuickTcp::new(KUBE_CONNECT_TIME)).chain(RustlsConnector::default());
    Agent::with_parts(config.build(), connector, CachingResolver::default())
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed because CIM stops")
    }
}
