//! What a registration means for the rest of the daemon (CONTRACT section 3).

use std::sync::Arc;

use serde_json::Value;

use crate::identity::Identity;
use crate::options::Options;
use crate::registration::{Application, Facts, Overrides, Registrar};
use crate::settings::registration::Overrides as Checked;
use crate::settings::{Registered, Store};

/// Knows who this sidecar is and what is in force.
pub struct DaemonRegistrar {
    /// Who this sidecar is.
    pub identity: Arc<Identity>,
    /// What the environment says.
    pub options: Arc<Options>,
    /// The settings in force.
    pub settings: Arc<Store>,
}

impl Registrar for DaemonRegistrar {
    fn facts(&self) -> Facts {
        let infra = &self.settings.load().infra;
        let gateway = &self.options.api_gateway;
        let tmaas = self
            .identity
            .tmaas
            .as_ref()
            .and_then(|tmaas| serde_json::to_value(tmaas).ok());
        Facts {
            namespace: self.identity.namespace.clone(),
            topogw_fqdn: self.identity.topogw_fqdn.clone(),
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
            container_fields_mandatory: self.options.ctr_fields_mandatory,
        }
    }

    fn accept(&mut self, _application: &Application, overrides: Overrides) -> Result<(), String> {
        if !overrides.is_empty() {
            let (lmaas, app_settings) = (
                Value::Object(overrides.lmaas),
                Value::Object(overrides.app_settings),
            );
            let checked = Checked::read(Some(&lmaas), Some(&app_settings))
                .map_err(|problems| problems.to_string())?;
            match self.settings.apply_registration(&checked) {
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
        Ok(())
    }
}
