//! The monitoring pages of the NATS server under their names of nats-server. They tell who is connected and what is asked for, so they
//! are for the own host alone, or for whoever has the token.

use subtle::ConstantTimeEq;

use super::{Answer, Request, Response, Wake, later};
use crate::nats::monitor::{Asker, ConnzQuery, Page, SubszQuery};
use crate::secret::Secret;

/// Who may look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everybody: the API is on loopback.
    Open,
    /// Whoever has this token (`Authorization: Bearer …`).
    Token(Secret),
    /// Nobody: the API is open to others, and there is no token.
    Closed,
}

/// Which page a path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorPath {
    /// `/varz`
    Varz,
    /// `/connz`
    Connz,
    /// `/subsz`
    Subsz,
}

impl MonitorPath {
    /// `None`: it is none of these.
    pub fn find(path: &str) -> Option<Self> {
        match path {
            "/varz" => Some(Self::Varz),
            "/connz" => Some(Self::Connz),
            "/subsz" | "/subscriptionsz" => Some(Self::Subsz),
            _ => None,
        }
    }
}

/// Asks the server.
pub struct Monitor {
    /// `None`: the server is an external one.
    asker: Option<Asker>,
    access: Access,
}

impl Monitor {
    /// For those that `access` lets in. Without an `asker` there is no embedded server.
    pub fn new(asker: Option<Asker>, access: Access) -> Self {
        Self { asker, access }
    }

    /// The answer to a request for `path`.
    pub fn answer(&self, path: MonitorPath, request: &Request, wake: &Wake) -> Answer {
        if let Err(refusal) = self.check(request) {
            return Answer::Now(refusal);
        }
        let Some(asker) = &self.asker else {
            return Answer::Now(Response::error(
                404,
                "the NATS server is an external one (CIM_NATS_URL): ask its own monitoring port",
            ));
        };
        let query = request.query.as_deref().unwrap_or_default();
        let page = match path {
            MonitorPath::Varz => Ok(Page::Varz),
            MonitorPath::Connz => ConnzQuery::read(query).map(Page::Connz),
            MonitorPath::Subsz => SubszQuery::read(query).map(Page::Subsz),
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return Answer::Now(Response::error(400, &error.to_string())),
        };
        let (replier, answer) = later(wake);
        if asker.ask(page, replier) {
            answer
        } else {
            Answer::Now(Response::error(503, "too many questions at one time"))
        }
    }

    fn check(&self, request: &Request) -> Result<(), Response> {
        match &self.access {
            Access::Open => Ok(()),
            Access::Closed => Err(Response::error(
                403,
                "monitoring is for loopback: set CIM_MONITOR_TOKEN_FILE to open it",
            )),
            Access::Token(token) => {
                let given = request.authorization.as_ref().map(Secret::reveal);
                let given = given.and_then(|given| given.strip_prefix("Bearer "));
                let given = given.unwrap_or_default().trim().as_bytes();
                if bool::from(token.reveal().as_bytes().ct_eq(given)) {
                    Ok(())
                } else {
                    Err(Response::error(
                        401,
                        "monitoring needs the token: Authorization: Bearer …",
                    ))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, Version};
    use crate::nats::monitor::Question;
    use crossbeam_channel::{Receiver, bounded};

    fn monitor(access: Access) -> (Monitor, Receiver<Question>) {
        let (to, questions) = bounded(1);
        (Monitor::new(Some(Asker::new(to, || {})), access), questions)
    }

    fn ask(monitor: &Monitor, authorization: Option<&str>, query: &str) -> Option<u16> {
        let request = Request {
            method: Method::Get,
            path: "/connz".into(),
            query: Some(query.into()),
            host: None,
            origin: None,
            authorization: authorization.map(Secret::new),
            body: Vec::new(),
            keep_alive: true,
            version: Version::Http11,
        };
        match monitor.answer(MonitorPath::Connz, &request, &Wake::new(|| {})) {
            Answer::Now(response) => Some(response.status),
            Answer::Later(_) => None,
        }
    }

    #[test]
    fn who_may_look() {
        let token = || Access::Token(Secret::new("t"));
        for (access, authorization, refused) in [
            (Access::Open, None, None),
            (Access::Closed, Some("Bearer t"), Some(403)),
            (token(), None, Some(401)),
            (token(), Some("t"), Some(401)),
            (token(), Some("Bearer x"), Some(401)),
            (token(), Some("Bearer "), Some(401)),
            (token(), Some("Bearer t"), None),
        ] {
            let (monitor, questions) = monitor(access);
            assert_eq!(
                ask(&monitor, authorization, ""),
                refused,
                "{authorization:?}"
            );
            assert_eq!(questions.is_empty(), refused.is_some());
        }
    }

    #[test]
    fn questions_are_bounded_and_checked() {
        let (monitor, questions) = monitor(Access::Open);
        assert_eq!(ask(&monitor, None, "limit=x"), Some(400));
        assert_eq!(ask(&monitor, None, "limit=1"), None);
        assert_eq!(ask(&monitor, None, "limit=1"), Some(503));
        assert!(matches!(questions.recv().unwrap().page, Page::Connz(query) if query.limit == 1));
    }
}
