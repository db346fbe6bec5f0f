//! The routes of the operations API: a request in, an answer out. No socket, no clock.
//!
//! | path | methods | where |
//! |---|---|---|
//! | `/api/v1/_operations/xgvela/register` | POST | REST port |
//! | `/api/v1/_operations/config/history` | GET, HEAD | REST port |
//! | `/api/v1/_operations/event/subscriptions` | GET, HEAD, POST | REST port |
//! | `/api/v1/_operations/event/subscriptions/<id>` | GET, HEAD, PUT, DELETE | REST port |
//! | `/`, `/status` | GET, HEAD | REST port |
//! | `/varz`, `/connz`, `/subsz` | GET, HEAD | REST port |
//! | `/metrics` | GET, HEAD | REST port, and `CIM_METRICS_BIND` when set |
//! | `/metrics/aligned` | GET, HEAD | as `/metrics` |
//! | `/healthz` | GET, HEAD | as `/metrics` |
//! | `/readyz` | GET, HEAD | as `/metrics` |
//!
//! `CIM_METRICS_BIND` opens the last four to the pod network, and nothing else. They stay on the REST port as well: what is on
//! loopback already (the application, `kubectl exec`) finds them there whatever the deployment says.
//!
//! One slash at the end of a path makes no difference, nor does a query, but for `snapshot=1` behind `/metrics/aligned`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::json;

use super::origin::is_foreign;
use super::status::{STATUS_HEADERS, is_rebound, page};
use super::subscriptions::{EventSubscriptions, SUBSCRIPTIONS_PATH};
use super::{
    Access, Answer, Handler, Method, Monitor, MonitorPath, Request, Response, Scope, Wake,
};
use crate::change_set::history::History;
use crate::health::{Health, Part, State};
use crate::metrics::Metrics;
use crate::metrics::aligned::exporter::{Exporter, Unavailable};
use crate::registration::{self, Registrar};
use crate::settings::Store;
use crate::status::{Shared, Status, parts, report};

/// The path of the last change sets.
pub const HISTORY_PATH: &str = "/api/v1/_operations/config/history";

/// The path of the document of `src/status`.
pub const STATUS_PATH: &str = "/status";

/// The query for one snapshot of `/metrics/aligned` at a time, instead of all.
const ONE_SNAPSHOT: &str = "snapshot=1";

/// Prometheus text format 0.0.4.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The daemon's [`Handler`].
pub struct Operations<R> {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/metrics/aligned` hands out.
    pub aligned: Arc<Exporter>,
    /// `cim_settings.enable_kpi` says whether `/metrics` is there.
    pub settings: Arc<Store>,
    /// What `cim history` shows.
    pub history: Arc<Mutex<History>>,
    /// What `/healthz` and `/readyz` show.
    pub health: Arc<Health>,
    /// Which events the application wants.
    pub subscriptions: EventSubscriptions,
    /// What `/status` shows beside all of this.
    pub status: Status,
    /// The pages of the NATS server.
    pub monitor: Monitor,
    /// What a registration sets going.
    pub registrar: R,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Register,
    /// The status page.
    Page,
    Status,
    History,
    Subscriptions,
    /// Of this id.
    Subscription(&'a str),
    Monitor(MonitorPath),
    Metrics,
    Aligned,
    Healthz,
    Readyz,
}

impl<'a> Route<'a> {
    fn find(path: &'a str, scope: Scope) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        match path {
            "/metrics" => Some(Self::Metrics),
            "/metrics/aligned" => Some(Self::Aligned),
            "/healthz" => Some(Self::Healthz),
            "/readyz" => Some(Self::Readyz),
            registration::PATH if scope == Scope::All => Some(Self::Register),
            "" if scope == Scope::All => Some(Self::Page),
            STATUS_PATH if scope == Scope::All => Some(Self::Status),
            HISTORY_PATH if scope == Scope::All => Some(Self::History),
            SUBSCRIPTIONS_PATH if scope == Scope::All => Some(Self::Subscriptions),
            _ if scope == Scope::All => {
                if let Some(page) = MonitorPath::find(path) {
                    return Some(Self::Monitor(page));
                }
                let id = path.strip_prefix(SUBSCRIPTIONS_PATH)?.strip_prefix('/')?;
                (!id.is_empty() && !id.contains('/')).then_some(Self::Subscription(id))
            }
            _ => None,
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Register => "POST",
            Self::Subscriptions => "GET, HEAD, POST",
            Self::Subscription(_) => "GET, HEAD, PUT, DELETE",
            Self::Page
            | Self::Status
            | Self::History
            | Self::Monitor(_)
            | Self::Metrics
            | Self::Aligned
            | Self::Healthz
            | Self::Readyz => "GET, HEAD",
        }
    }

    fn allows(self, method: Method) -> bool {
        let mut allowed = self.allow().split(", ");
        allowed.any(|name| Method::from_name(name) == method)
    }
}

impl<R: Registrar> Handler for Operations<R> {
    fn answer(&mut self, scope: Scope, request: &Request, wake: &Wake) -> Answer {
        match self.route(scope, request) {
            Ok(Route::Register) => self.register(&request.body, wake),
            Ok(Route::Subscriptions) => self.subscriptions.all(request, wake),
            Ok(Route::Subscription(id)) => Answer::Now(self.subscriptions.one(id, request)),
            Ok(Route::Monitor(page)) => self.monitor.answer(page, request, wake),
            Ok(Route::Page) => Answer::Now(self.for_people(request).err().unwrap_or_else(page)),
            Ok(Route::Status) => self.status(request, wake),
            Ok(Route::History) => Answer::Now(self.history()),
            Ok(Route::Metrics) => Answer::Now(self.metrics()),
            Ok(Route::Aligned) => Answer::Now(self.aligned(request)),
            Ok(Route::Healthz) => Answer::Now(self.healthz()),
            Ok(Route::Readyz) => Answer::Now(self.readyz()),
            Err(response) => Answer::Now(response),
        }
    }

    fn tick(&mut self, now: Instant) -> Option<Instant> {
        Some(self.status.tick(now))
    }
}

impl<R: Registrar> Operations<R> {
    /// Where `request` goes that came in through `scope`, or why it goes nowhere.
    fn route<'a>(&self, scope: Scope, request: &'a Request) -> Result<Route<'a>, Response> {
        let Some(route) = Route::find(&request.path, scope) else {
            return Err(Response::error(404, "there is nothing at this path"));
        };
        let of_subscriptions = matches!(route, Route::Subscriptions | Route::Subscription(_));
        if of_subscriptions && !self.subscriptions.is_open() {
            return Err(Response::error(
                404,
                "event subscriptions are there once the application has registered",
            ));
        }
        if !route.allows(request.method) {
            let allow = route.allow();
            return Err(Response {
                allow: Some(allow),
                ..Response::error(405, &format!("this path takes {allow}"))
            });
        }
        if is_foreign(request) {
            let refused = "refused: sent by a web page from elsewhere (Origin)";
            return Err(Response::error(403, refused));
        }
        Ok(route)
    }

    fn register(&mut self, body: &[u8], wake: &Wake) -> Answer {
        let application = match registration::register(body, &mut self.registrar) {
            Ok(application) => application,
            Err(response) => return Answer::Now(response),
        };
        self.metrics.registrations.inc();
        self.subscriptions.open();
        log::info!("application registered: {application}");
        self.health.set(
            Part::Application,
            State::Ready,
            &format!("registered: {application}"),
        );
        self.registrar.answer(wake)
    }

    /// Whether `request` may see settings and log lines.
    fn for_people(&self, request: &Request) -> Result<(), Response> {
        let access = self.monitor.access();
        // With a token, whoever has it may call this host what they like.
        if *access == Access::Open && is_rebound(request) {
            let refused = "refused: ask for localhost or an address, not for a name (Host)";
            return Err(Response::error(403, refused));
        }
        access.admit(request)
    }

    fn status(&self, request: &Request, wake: &Wake) -> Answer {
        if let Err(refusal) = self.for_people(request) {
            return Answer::Now(refusal);
        }
        let shared = Shared {
            health: &self.health,
            settings: &self.settings,
            history: &self.history,
        };
        let document = Response {
            headers: STATUS_HEADERS,
            ..Response::json(200, &self.status.document(&shared, Instant::now()))
        };
        self.monitor.with_connections(document, wake)
    }

    fn history(&self) -> Response {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        Response::json(
            200,
            &json!({"change_sets": history.records().collect::<Vec<_>>()}),
        )
    }

    fn metrics(&self) -> Response {
        if !self.settings.load().cim.cim_settings.enable_kpi {
            return Response::error(
                404,
                "metrics are off: cimConfig.cim_settings.enable_kpi is false",
            );
        }
        self.metrics
            .set_parts(&report(&self.health, &self.metrics).parts);
        match self.metrics.render() {
            Ok(body) => text(body),
            Err(error) => Response::error(500, &format!("the metrics cannot be written: {error}")),
        }
    }

    fn aligned(&self, request: &Request) -> Response {
        let query = request.query.as_deref().unwrap_or_default();
        let most = match request.method {
            // It has no body, and what is handed out is gone.
            Method::Head => 0,
            _ if query.split('&').any(|part| part == ONE_SNAPSHOT) => 1,
            _ => usize::MAX,
        };
        match self.aligned.hand_out(most) {
            Ok(body) => text(body),
            Err(Unavailable::Off(reason)) => {
                Response::error(404, &format!("aligned metrics are off: {reason}"))
            }
            Err(Unavailable::NotReady(reason)) => {
                Response::error(503, &format!("no aligned metrics: {reason}"))
            }
        }
    }

    fn healthz(&self) -> Response {
        match self.health.failure() {
            None => Response::json(200, &json!({"status": "ok"})),
            Some(reason) => Response::json(503, &json!({"status": "failed", "reason": reason})),
        }
    }

    fn readyz(&self) -> Response {
        let parts = parts(&self.health, &self.metrics);
        let (status, text) = match parts.ready {
            true => (200, "ready"),
            false => (503, "not ready"),
        };
        Response::json(status, &json!({"status": text, "parts": parts.document}))
    }
}

fn text(body: Vec<u8>) -> Response {
    Response {
        status: 200,
        content_type: METRICS_TYPE,
        allow: None,
        headers: &[],
        body,
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
