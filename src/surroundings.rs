//! Where etcd is, and whose change sets CIM is to deliver, as far as it is known now: from the settings, the environment and
//! what Kubernetes says.

use std::sync::Arc;

use crate::change_set::StartedWith;
use crate::change_set::memory::Own;
use crate::etcd;
use crate::health::State;
use crate::identity::Current;
use crate::options::Options;
use crate::settings::Store;
use crate::settings::address;

/// What is known now; threads ask it again when they are woken.
#[derive(Clone)]
pub struct Surroundings {
    /// The settings in force.
    pub settings: Arc<Store>,
    /// What is fixed.
    pub options: Arc<Options>,
    /// Who this sidecar is.
    pub identity: Arc<Current>,
}

/// Why change sets cannot be delivered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotKnown {
    /// No etcd is configured.
    #[error("no etcd: neither CIM_ETCD_URL nor etcd_url in common-infra.json is given")]
    Etcd,
    /// Kubernetes has not been asked yet.
    #[error("Kubernetes has not said yet who this pod is")]
    Pod,
    /// The pod has no such label, or it could not be read.
    #[error(
        "the microservice is not known: neither the pod's label microSvcName nor CIM_MICROSERVICE"
    )]
    Microservice,
}

impl NotKnown {
    /// How that is for the health of CIM.
    pub fn state(self) -> State {
        match self {
            Self::Etcd => State::Disabled,
            Self::Pod | Self::Microservice => State::NotReady,
        }
    }
}

impl Surroundings {
    /// How to get at etcd.
    ///
    /// # Errors
    /// It is not known.
    pub fn etcd(&self) -> Result<etcd::Config, NotKnown> {
        let settings = self.settings.load();
        let list = settings.infra.etcd_url.as_deref().ok_or(NotKnown::Etcd)?;
        let access = &self.options.etcd;
        Ok(etcd::Config {
            endpoints: address::items(list).map(str::to_owned).collect(),
            user: access.user.clone(),
            tls: etcd::Tls {
                ca_file: access.ca_file.clone(),
                cert_file: access.cert_file.clone(),
                key_file: access.key_file.clone(),
            },
            timeouts: etcd::Timeouts::default(),
        })
    }

    /// Whose change sets they are.
    ///
    /// # Errors
    /// It is not known.
    pub fn own(&self) -> Result<Own, NotKnown> {
        if !self.identity.is_settled() {
            return Err(NotKnown::Pod);
        }
        let identity = self.identity.load();
        let microservice = identity.microservice.clone();
        Ok(Own {
            namespace: identity.namespace.clone(),
            microservice: microservice.ok_or(NotKnown::Microservice)?,
            version: identity.version.clone(),
            pod: identity.pod.clone(),
            pod_uid: identity.pod_uid.clone().unwrap_or_default(),
        })
    }

    /// The configuration that the pod started with.
    pub fn started_with(&self) -> StartedWith {
        let revisions = &self.options.revisions;
        StartedWith {
            ms: revisions.ms.clone(),
            nf: revisions.nf.clone(),
            config_map: self.settings.config_map(),
        }
    }
}
