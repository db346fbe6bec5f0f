//! The monitoring pages of the NATS server under their names of nats-server. They tell who is connected and what is asked for, so they
//! are for the own host alone, or for whoever has the token.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;

use super::{Answer, Request, Response, Wake, later};
use crate::limits::STATUS_CONNECTIONS;
use crate::nats::monitor::{Asker, ConnState, ConnzQuery, Page, Show, Sort, SubszQuery};
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

/// How a browser is told to ask its user for the token; the user name is whatever it likes.
const ASK: &[(&str, &str)] = &[(
    "WWW-Authenticate",
    "Basic realm=\"CIM: any user, the token as password\", charset=\"UTF-8\"",
)];

impl Access {
    /// Lets `request` in, or says why not.
    pub(super) fn admit(&self, request: &Request) -> Result<(), Response> {
        match self {
            Self::Open => Ok(()),
            Self::Closed => Err(Response::error(
                403,
                "this is for loopback: set CIM_MONITOR_TOKEN_FILE to open it",
            )),
            Self::Token(token) => {
                let given = request.authorization.as_ref().map(Secret::reveal);
                let given = given.and_then(token_in).unwrap_or_default();
                if bool::from(token.reveal().as_bytes().ct_eq(&given)) {
                    Ok(())
                } else {
                    let refusal = "this needs the token: Authorization: Bearer …";
                    Err(Response {
                        headers: ASK,
                        ..Response::error(401, refusal)
                    })
                }
            }
        }
    }
}

/// The token in a header `Authorization`: `Bearer <token>`, or what browsers send, `Basic` with the token as the password (RFC 7617).
fn token_in(authorization: &str) -> Option<Vec<u8>> {
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        return Some(token.trim().into());
    }
    let basic = authorization.strip_prefix("Basic ")?;
    let mut pair = BASE64_STANDARD.decode(basic.trim()).ok()?;
    let colon = memchr::memchr(b':', &pair)?;
    Some(pair.split_off(colon + 1))
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
        if let Err(refusal) = self.access.admit(request) {
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

    /// Who may look.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// `document`, an object, with the open connections under `connections`, in the form of `/connz`: `null` when nobody can tell.
    pub(super) fn with_connections(&self, mut document: Response, wake: &Wake) -> Answer {
        // `}` and the end of the line.
        let open = document.body.len().saturating_sub(2);
        document.body.truncate(open);
        document.body.extend_from_slice(b",\"connections\":");
        let without = |mut document: Response| {
            document.body.extend_from_slice(b"null}\n");
            document
        };
        let Some(asker) = &self.asker else {
            return Answer::Now(without(document));
        };
        let (replier, answer) = later(wake);
        let unasked = document.clone();
        let replier = replier.with(move |connections| match connections.status {
            200 => {
                let mut document = document;
                let body = connections.body.trim_ascii_end();
                document.body.extend_from_slice(body);
                document.body.extend_from_slice(b"}\n");
                document
            }
            _ => without(document),
        });
        let query = ConnzQuery {
            sort: Sort::Last,
            auth: true,
            subs: Show::Number,
            offset: 0,
            limit: STATUS_CONNECTIONS,
            cid: 0,
            state: ConnState::Open,
            user: None,
            filter_subject: None,
        };
        match asker.ask(Page::Connz(query), replier) {
            true => answer,
            false => Answer::Now(without(unasked)),
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
            // any:t, t, any:x, any:x:t, not base64
            (token(), Some("Basic YW55OnQ="), None),
            (token(), Some("Basic dA=="), Some(401)),
            (token(), Some("Basic YW55Ong="), Some(401)),
            (token(), Some("Basic YW55Ong6dA=="), Some(401)),
            (token(), Some("Basic any:t"), Some(401)),
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
