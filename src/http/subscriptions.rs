//! The routes of the event subscriptions (CONTRACT section 8). Answers have the original's texts.
//!
//! The paths are there once the application has registered, as in the original, and at once when it has subscribed in an earlier run.

use std::sync::Arc;

use crossbeam_channel::Sender;
use serde_json::json;

use super::{Answer, Method, Request, Response, Wake, later};
use crate::chain::chain;
use crate::metrics::Metrics;
use crate::subscriptions::{ChangeError, Changed, Filter, FilterError, Subscriptions};

/// All event subscriptions. `/<id>` behind it: one.
pub const SUBSCRIPTIONS_PATH: &str = "/api/v1/_operations/event/subscriptions";

/// What the routes work with.
pub struct EventSubscriptions {
    subscriptions: Arc<Subscriptions>,
    changed: Sender<Changed>,
    metrics: Arc<Metrics>,
    is_open: bool,
}

/// A request that is not done, and its answer.
struct Refused(Response);

impl From<FilterError> for Refused {
    fn from(error: FilterError) -> Self {
        Self(Response::error(400, &error.to_string()))
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let status = match &error {
            ChangeError::Unknown => 404,
            ChangeError::Full => 429,
            ChangeError::Store(_) => {
                log::error!("{}", chain(&error));
                503
            }
        };
        Self(Response::error(status, &error.to_string()))
    }
}

impl EventSubscriptions {
    /// `changed`: the way to the consumer, which is told of each change.
    pub fn new(
        subscriptions: Arc<Subscriptions>,
        changed: Sender<Changed>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let routes = Self {
            is_open: subscriptions.were_used(),
            subscriptions,
            changed,
            metrics,
        };
        routes.count();
        routes
    }

    /// The application has registered.
    pub(super) fn open(&mut self) {
        self.is_open = true;
    }

    /// The paths are there.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The answer to a request about all subscriptions; the method is one that the path takes.
    pub(super) fn all(&self, request: &Request, wake: &Wake) -> Answer {
        match request.method {
            Method::Post => self.add(&request.body, wake),
            _ => Ok(Answer::Now(Response::json(200, &self.subscriptions.all()))),
        }
        .unwrap_or_else(|Refused(response)| Answer::Now(response))
    }

    /// The answer to a request about one of them.
    pub(super) fn one(&self, id: &str, request: &Request) -> Response {
        match request.method {
            Method::Put => self.replace(id, &request.body),
            Method::Delete => self.remove(id),
            _ => self.get(id),
        }
        .unwrap_or_else(|Refused(response)| response)
    }

    fn add(&self, body: &[u8], wake: &Wake) -> Result<Answer, Refused> {
        let added = self.subscriptions.add(Filter::parse(body)?)?;
        let id = &added.id;
        match &added.replaced {
            None => log::info!("event subscription {id} is added"),
            Some(old) => log::info!(
                "event subscription {id} is added in place of {old}, which wants the same: there are too many"
            ),
        }
        let response = Response::json(200, &json!({ "subscriptionId": id }));
        if !added.begins_era {
            self.tell(None);
            return Ok(Answer::Now(response));
        }
        // What is produced after the answer is to be delivered: so the consumer has to know first where the topic ends.
        let (replier, answer) = later(wake);
        self.tell(Some((replier, response)));
        Ok(answer)
    }

    fn get(&self, id: &str) -> Result<Response, Refused> {
        let filter = self.subscriptions.get(id).ok_or(ChangeError::Unknown)?;
        Ok(Response::json(200, &filter))
    }

    fn replace(&self, id: &str, body: &[u8]) -> Result<Response, Refused> {
        // In the original's order: the id first.
        self.get(id)?;
        self.subscriptions.replace(id, Filter::parse(body)?)?;
        log::info!("event subscription {id} is replaced");
        self.tell(None);
        Ok(Response::json(
            200,
            &"subscribed event updated successfully",
        ))
    }

    fn remove(&self, id: &str) -> Result<Response, Refused> {
        self.subscriptions.remove(id)?;
        log::info!("event subscription {id} is deleted");
        self.tell(None);
        Ok(Response {
            status: 204,
            content_type: "",
            allow: None,
            headers: &[],
            body: Vec::new(),
        })
    }

    /// Tells the consumer. Full: it has yet to look, and will see this change too. Closed: CIM stops. In both cases the answer does
    /// not wait for it.
    fn tell(&self, answer: Option<(super::Replier, Response)>) {
        self.count();
        if let Err(error) = self.changed.try_send(Changed { answer })
            && let Some((replier, response)) = error.into_inner().answer
        {
            replier.send(response);
        }
    }

    fn count(&self) {
        let count = i64::try_from(self.subscriptions.count()).unwrap_or(i64::MAX);
        self.metrics.notifications.subscriptions.set(count);
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
