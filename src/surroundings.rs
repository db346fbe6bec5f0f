//! Where etcd and the application are, and whose change sets CIM is to deliver, as far as it is known now: from the settings, the environment and
//! what Kubernetes says.

use std::sync::Arc;

use crate::app::Target;
use crate::change_set::StartedWith;
use crate::change_set::memory::Own;
use crate::etcd;
use crate::health::State;
use crate::identity::Current;
use crate::options::Options;
use crate::secret::{self, Secret};
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
    /// What happens until it is known, or is to be done.
    pub fn next(self) -> &'static str {
        match self {
            Self::Etcd => "no change set is delivered until one of them is",
            Self::Pod => "CIM asks until it does, change sets wait in etcd",
            Self::Microservice => "set one of them; change sets wait in etcd",
        }
    }

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
            user: self.etcd_user(),
            tls: etcd::Tls {
                ca_file: access.ca_file.clone(),
                cert_file: access.cert_file.clone(),
                key_file: access.key_file.clone(),
            },
            timeouts: etcd::Timeouts::default(),
        })
    }

    /// The password is read anew: who replaces it in its file need not start CIM again. What cannot be read is as it was at the start.
    fn etcd_user(&self) -> Option<(String, Secret)> {
        let access = &self.options.etcd;
        let (name, first) = access.user.clone()?;
        let now = access.password_file.as_deref().map(secret::read);
        Some((name, now.and_then(Result::ok).unwrap_or(first)))
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

    /// Where the application is, and how it is spoken to.
    pub fn application(&self) -> Target {
        let settings = self.settings.load();
        Target::new(self.options.app_url.as_deref(), &settings.cim.app_settings)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Host, Identity};
    use crate::options::{Given, resolve};
    use crate::settings::Store;

    #[test]
    fn a_password_that_is_replaced_in_its_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "first\n").unwrap();
        let given = [
            ("CIM_ETCD_URL", "e:2379"),
            ("CIM_ETCD_USER", "u"),
            ("CIM_ETCD_PASSWORD_FILE", path.to_str().unwrap()),
        ];
        let options = resolve(&Given::from_environment(given)).options;
        let (identity, _) = Identity::resolve(&options.names, &Host::default());
        let settings = Store::open(options.paths.files.clone(), options.infra.clone());
        let known = Surroundings {
            settings: Arc::new(settings),
            options: Arc::new(options),
            identity: Arc::new(Current::new(identity, true)),
        };
        let password = || known.etcd().unwrap().user.unwrap().1;
        assert_eq!(password().reveal(), "first");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(password().reveal(), "second");
        std::fs::write(&path, "").unwrap();
        assert_eq!(password().reveal(), "first", "as it was at the start");
    }
}
