//! TMaaS: common-infra.json over HTTP, for pods that have no such file (CONTRACT section 1).

use std::time::Duration;

use super::agent::{self, Agents, Closed, Closer};
use super::error::Cause;
use crate::limits::CONFIG_FILE_BYTES;

const PATH: &str = "/api/v1/tmaas/config/common-infra";

/// A client of TMaaS.
#[derive(Debug, Default)]
pub struct Tmaas {
    agents: Agents,
}

/// TMaaS did not give its common-infra.json.
#[derive(Debug, thiserror::Error)]
#[error("common-infra.json from TMaaS at {address}: {cause}")]
pub struct TmaasError {
    /// The address that was asked.
    pub address: String,
    /// Why.
    pub cause: TmaasCause,
}

/// Why TMaaS did not give its common-infra.json.
#[derive(Debug, thiserror::Error)]
pub enum TmaasCause {
    /// No answer.
    #[error(transparent)]
    Call(#[from] Cause),
    /// An answer other than 200.
    #[error("status {0}")]
    Status(u16),
}

impl From<Closed> for TmaasCause {
    fn from(closed: Closed) -> Self {
        Self::Call(closed.into())
    }
}

impl From<ureq::Error> for TmaasCause {
    fn from(error: ureq::Error) -> Self {
        Self::Call(error.into())
    }
}

impl Tmaas {
    /// What ends the call that is under way, from another thread.
    pub fn closer(&self) -> Closer {
        self.agents.closer()
    }

    /// Closes the idle socket.
    pub fn rest(&self) {
        self.agents.rest();
    }

    /// The text of common-infra.json, at most [`CONFIG_FILE_BYTES`], from `address` (`host` or `host:port`) within `time`.
    ///
    /// # Errors
    /// No answer in time, or another one than 200.
    pub fn common_infra(&self, address: &str, time: Duration) -> Result<Vec<u8>, TmaasError> {
        self.get(address, time).map_err(|cause| TmaasError {
            address: address.to_owned(),
            cause,
        })
    }

    fn get(&self, address: &str, time: Duration) -> Result<Vec<u8>, TmaasCause> {
        let agent = self
            .agents
            .get(|| Ok::<_, TmaasCause>(agent::agent(agent::config())))?;
        let request = agent.get(format!("http://{address}{PATH}"));
        let mut response = request.config().timeout_global(Some(time)).build().call()?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(TmaasCause::Status(status));
        }
        let body = response.body_mut().with_config().limit(CONFIG_FILE_BYTES);
        Ok(body.read_to_vec()?)
    }
}
