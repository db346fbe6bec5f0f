//! The thread's way to etcd.

use crate::app::AppStop;
use crate::etcd::{Client, Config, EtcdError, Tls};
use crate::interrupt::Interrupt;
use crate::surroundings::Surroundings;

/// The client of etcd, made anew when another etcd is configured; and how the calls of this thread are cut off.
pub(super) struct Etcd {
    current: Option<(Config, Client)>,
    stop: AppStop,
}

impl Etcd {
    /// `stop` cuts off the calls to the application.
    pub fn new(stop: AppStop) -> Self {
        Self {
            current: None,
            stop,
        }
    }

    /// Calls etcd as it is configured now.
    pub fn call<T>(
        &mut self,
        surroundings: &Surroundings,
        interrupt: &Interrupt,
        call: impl FnOnce(&mut Client) -> Result<T, EtcdError>,
    ) -> Result<T, EtcdError> {
        let config = surroundings.etcd().unwrap_or_default();
        if self.current.as_ref().is_none_or(|(of, _)| *of != config) {
            let client = Client::new(config.clone())?;
            let (closer, stop) = (client.closer(), self.stop.clone());
            interrupt.attach(move || {
                closer.close();
                stop.stop();
            });
            self.current = Some((config, client));
        }
        let Some((_, client)) = &mut self.current else {
            return Err(EtcdError::Closed);
        };
        let result = call(client);
        if result.is_err() {
            self.renew();
        }
        result
    }

    /// After a failure: certificates are replaced in their files, and a new client reads them again.
    pub fn renew(&mut self) {
        self.current
            .take_if(|(config, _)| config.tls != Tls::default());
    }
}

/// The last complaint of one kind: an outage is said once, and again when it changes.
#[derive(Default)]
pub(super) struct Complaint(Option<String>);

impl Complaint {
    /// True when `text` was not said last.
    pub fn is_news(&mut self, text: &str) -> bool {
        let is_news = self.0.as_deref() != Some(text);
        if is_news {
            self.0 = Some(text.to_owned());
        }
        is_news
    }

    /// It works again.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_once_and_again_when_it_changes() {
        let mut complaint = Complaint::default();
        assert!(complaint.is_news("no answer"));
        assert!(!complaint.is_news("no answer"));
        assert!(complaint.is_news("refused"));
        complaint.end();
        assert!(complaint.is_news("refused"));
    }
}
