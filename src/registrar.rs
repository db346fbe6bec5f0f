//! What a registration means for the rest of the daemon (CONTRACT section 3).

use std::time::Instant;

use crossbeam_channel::Sender;
use serde_json::Value;

use crate::http::{Answer, Wake, later};
use crate::kube::Command;
use crate::limits::REGISTRATION_WAIT;
use crate::registration::{Application, Facts, Overrides, Registrar, success};
use crate::settings::Registered;
use crate::settings::registration::Overrides as Checked;
use crate::surroundings::Surroundings;

/// Knows who this sidecar is and what is in force.
pub struct DaemonRegistrar {
    /// What answers are made of.
    pub known: Surroundings,
    /// The way to the thread that learns who the pod is and makes the ConfigMap; `None` without Kubernetes.
    pub kubernetes: Option<Sender<Command>>,
    /// Called for each registration that is accepted. It must not block.
    pub registered: Box<dyn Fn(&Application) + Send>,
}

/// What the answer to a registration is made of, now.
fn facts(known: &Surroundings) -> Facts {
    let infra = &known.settings.load().infra;
    let gateway = &known.options.api_gateway;
    let identity = known.identity.load();
    let tmaas = identity
        .tmaas
        .as_ref()
        .and_then(|tmaas| serde_json::to_value(tmaas).ok());
    Facts {
        namespace: identity.namespace.clone(),
        topogw_fqdn: identity.topogw_fqdn.clone(),
        tmaas_annotations: match tmaas {
            Some(Value::Object(members)) => Some(members),
            _ => None,
        },
        apigw_rest_fqdn: infra.apigw_rest_fqdn.clone(),
        topoengine_fqdn: infra.topoengine_fqdn.clone(),
        apigw_username: gateway.username.clone().unwrap_or_default(),
        apigw_password: gateway
            .password
            .as_ref()
            .map(|secret| secret.reveal().to_owned())
            .unwrap_or_default(),
        container_fields_mandatory: known.options.ctr_fields_mandatory,
    }
}

/// Nothing is left to learn that an answer is made of, and the pod has its configuration.
fn is_all_known(known: &Surroundings) -> bool {
    let settings = &known.settings;
    let has_configuration = settings.is_mounted() || settings.config_map().is_some();
    has_configuration && !settings.lacks_infra() && known.identity.load().pod_uid.is_some()
}

impl Registrar for DaemonRegistrar {
    fn facts(&self) -> Facts {
        facts(&self.known)
    }

    fn accept(&mut self, application: &Application, overrides: Overrides) -> Result<(), String> {
        if !overrides.is_empty() {
            let (lmaas, app_settings) = (
                Value::Object(overrides.lmaas),
                Value::Object(overrides.app_settings),
            );
            let checked = Checked::read(Some(&lmaas), Some(&app_settings))
                .map_err(|problems| problems.to_string())?;
            match self.known.settings.apply_registration(&checked) {
                Registered::FileWins => {
                    log::info!("the mounted cim.json wins over the settings of the registration")
                }
                Registered::ConfigMapWins => {
                    log::info!("the ConfigMap wins over the settings of the registration")
                }
                Registered::Applied(changes) => {
                    for change in changes {
                        log::info!("setting changed by the registration: {change}");
                    }
                }
            }
        }
        (self.registered)(application);
        Ok(())
    }

    /// The answer tells who the pod is, and the application may look for its ConfigMap as soon as it has it: so it waits a moment for
    /// both.
    fn answer(&mut self, wake: &Wake) -> Answer {
        let kubernetes = self
            .kubernetes
            .as_ref()
            .filter(|_| !is_all_known(&self.known));
        let Some(kubernetes) = kubernetes else {
            return Answer::Now(success(&self.facts()));
        };
        let (replier, answer) = later(wake);
        let known = self.known.clone();
        let command = Command::Registered {
            until: Instant::now() + REGISTRATION_WAIT,
            done: Box::new(move || replier.send(success(&facts(&known)))),
        };
        if let Err(error) = kubernetes.try_send(command)
            && let Command::Registered { done, .. } = error.into_inner()
        {
            log::warn!(
                "a registration is answered without Kubernetes, of which CIM has too much to ask"
            );
            done();
        }
        answer
    }
}
