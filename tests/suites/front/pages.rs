//! nats-server's monitoring port: the pages of CIM's operations API that it has too, and a `/healthz` of its form.

use cim::http::{Answer, Handler, Monitor, MonitorPath, Request, Response, Scope, Wake};

/// The pages.
pub struct Pages(pub Monitor);

impl Handler for Pages {
    fn answer(&mut self, _: Scope, request: &Request, wake: &Wake) -> Answer {
        let path = request.path.as_str();
        match MonitorPath::find(path.strip_suffix('/').unwrap_or(path)) {
            Some(page) => self.0.answer(page, request, wake),
            None if matches!(path, "/" | "/healthz") => {
                Answer::Now(Response::json(200, &serde_json::json!({"status": "ok"})))
            }
            None => Answer::Now(Response::error(404, "no such page")),
        }
    }
}
