//! Registration of the application (CONTRACT section 3): the body in, the answer out.
//!
//! What an accepted registration sets going is behind [`Registrar`]. Registering again is normal and gets the same answer.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::http::{Answer, Response, Wake, host_of};

/// The path of the registration.
pub const PATH: &str = "/api/v1/_operations/xgvela/register";

const BAD_BODY: &str = "Invalid request body.";
const FIELDS_MISSING: &str =
    "Invalid request body. Please provide mandatory fields container_name and container_id.";

/// The application, as it names itself: untrusted, and bounded by the size of a request body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Application {
    /// `container_name`; empty when it was not given.
    pub container_name: String,
    /// `container_id`; empty when it was not given.
    pub container_id: String,
}

impl fmt::Display for Application {
    /// The names quoted, control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "container {:?}, id {:?}",
            self.container_name, self.container_id
        )
    }
}

/// The members of cim.json that the application would like to change. Values <= 0 or empty mean "keep".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `lmaas` as sent.
    pub lmaas: Map<String, Value>,
    /// `app_settings` as sent.
    pub app_settings: Map<String, Value>,
}

impl Overrides {
    /// Nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.lmaas.is_empty() && self.app_settings.is_empty()
    }
}

/// What the answer is made of. It holds a password, so it does not show in `{:?}`.
#[derive(Clone, Default)]
pub struct Facts {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod annotation `topogw.fqdn`.
    pub topogw_fqdn: Option<String>,
    /// The pod annotation `xgvela.com/tmaas`, parsed.
    pub tmaas_annotations: Option<Map<String, Value>>,
    /// `apigw_rest_fqdn` of common-infra.json.
    pub apigw_rest_fqdn: Option<String>,
    /// `topoengine_fqdn` of common-infra.json.
    pub topoengine_fqdn: Option<String>,
    /// User of the API gateway, from the configuration; empty when unset.
    pub apigw_username: String,
    /// Its password.
    pub apigw_password: String,
    /// `CTR_FIELDS_MANDATORY`: both container fields must be there.
    pub container_fields_mandatory: bool,
}

/// The rest of CIM, as far as a registration concerns it. It is called on the thread of the operations API and must not block.
pub trait Registrar: Send {
    /// What the answer is made of, now.
    fn facts(&self) -> Facts;

    /// An application has registered, for the first time or again. `overrides` apply only where neither a mounted cim.json
    /// nor the ConfigMap exists: that is the callee's to know.
    ///
    /// # Errors
    /// The overrides are no valid configuration: the text says which member, and the application gets it with a 400.
    fn accept(&mut self, application: &Application, overrides: Overrides) -> Result<(), String>;

    /// The answer to the registration that was accepted last: now, or once what it has set going is done.
    fn answer(&mut self, _wake: &Wake) -> Answer {
        Answer::Now(success(&self.facts()))
    }
}

/// The answer, its members in the original's order.
#[derive(Serialize, Default)]
struct Reply<'a> {
    status: &'a str,
    tmaas_fqdn: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    err_msg: &'a str,
    apigw_rest_fqdn: &'a str,
    apigw_rest_uri_prefix: &'a str,
    apigw_auth_type: &'a str,
    apigw_username: &'a str,
    apigw_password: &'a str,
    topo_engine_fqdn: &'a str,
    tmaas_annotations: Option<&'a Map<String, Value>>,
}

/// Takes a registration.
///
/// # Errors
/// It is refused, with this answer.
pub fn register(body: &[u8], registrar: &mut impl Registrar) -> Result<Application, Response> {
    let mandatory = registrar.facts().container_fields_mandatory;
    parse(body, mandatory)
        .map_err(str::to_owned)
        .and_then(|(application, overrides)| {
            registrar.accept(&application, overrides)?;
            Ok(application)
        })
        .map_err(|message| failure(&message))
}

/// The answer to a registration that was accepted.
pub fn success(facts: &Facts) -> Response {
    let addresses = Addresses::of(facts);
    let reply = Reply {
        status: "success",
        tmaas_fqdn: &addresses.tmaas,
        err_msg: "",
        apigw_rest_fqdn: &addresses.apigw_rest,
        apigw_rest_uri_prefix: "/restconf/tailf/query",
        apigw_auth_type: "Basic",
        apigw_username: &facts.apigw_username,
        apigw_password: &facts.apigw_password,
        topo_engine_fqdn: &addresses.topo_engine,
        tmaas_annotations: facts.tmaas_annotations.as_ref(),
    };
    Response::json(200, &reply)
}

fn failure(err_msg: &str) -> Response {
    let reply = Reply {
        status: "failure",
        err_msg,
        ..Reply::default()
    };
    Response::json(400, &reply)
}

/// `null` is as good as a member that is not there, which is what clients mean by it.
fn parse(body: &[u8], fields_mandatory: bool) -> Result<(Application, Overrides), &'static str> {
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
        return Err(BAD_BODY);
    };
    let mut text = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(BAD_BODY),
    };
    let application = Application {
        container_name: text("container_name")?,
        container_id: text("container_id")?,
    };
    let mut object = |name: &str| match members.remove(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(BAD_BODY),
    };
    let overrides = Overrides {
        lmaas: object("lmaas")?,
        app_settings: object("app_settings")?,
    };
    let blank = |text: &str| text.trim().is_empty();
    if fields_mandatory && (blank(&application.container_name) || blank(&application.container_id))
    {
        return Err(FIELDS_MISSING);
    }
    Ok((application, overrides))
}

/// The addresses of the answer (CONTRACT section 3).
#[derive(Debug, PartialEq, Eq)]
struct Addresses {
    tmaas: String,
    apigw_rest: String,
    topo_engine: String,
}

impl Addresses {
    fn of(facts: &Facts) -> Self {
        let tmaas = given(&facts.topogw_fqdn);
        let x = tmaas
            .and_then(second_label)
            .unwrap_or(facts.namespace.as_str());
        let or_default = |given: Option<&str>, service: &str, port: u16| match given {
            Some(address) => address.to_owned(),
            None => format!("{service}.{x}.svc.cluster.local:{port}"),
        };
        Self {
            tmaas: or_default(tmaas, "topo-gw", 8080),
            apigw_rest: or_default(given(&facts.apigw_rest_fqdn), "cmaas", 8008),
            topo_engine: or_default(given(&facts.topoengine_fqdn), "tmaas", 8080),
        }
    }
}

/// A blank value is as good as none.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|v| !v.is_empty())
}

/// The namespace in a service's name: `<service>.<namespace>.svc…`. An IP address has none.
fn second_label(address: &str) -> Option<&str> {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host_of(authority.split('/').next().unwrap_or_default());
    if host.parse::<IpAddr>().is_ok() {
        return None;
    }
    host.split('.').nth(1).filter(|label| !label.is_empty())
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
