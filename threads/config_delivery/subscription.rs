//! When the puts at subscription time are due, and doing them.

use std::time::Instant;

use crate::backoff::Backoff;
use crate::chain::chain;
use crate::change_set::StartedWith;
use crate::change_set::calls;
use crate::change_set::memory::Own;
use crate::change_set::subscription::{puts, registration, resumes};
use crate::change_set::wire::Page;
use crate::etcd::{Client, EtcdError, Recovery};
use crate::limits::{ETCD_RETRY_FIRST, ETCD_RETRY_LAST, SUBSCRIPTION_REFUSED_RETRY};

use super::etcd::Complaint;

/// The puts of one pod. They are due once the application has registered, and once more when the ConfigMap is there. Before that one
/// look is due: a pod with a memory in etcd goes on where it was, since an application that runs does not register again because CIM
/// was killed. So the registration is remembered there too.
pub(super) struct Subscription {
    own: Own,
    registrations: u64,
    /// The look was taken.
    looked: bool,
    /// What was put last.
    put: Option<StartedWith>,
    backoff: Backoff,
    /// Not before this time.
    again: Option<Instant>,
    complaint: Complaint,
}

impl Subscription {
    pub fn new(own: Own) -> Self {
        Self {
            own,
            registrations: 0,
            looked: false,
            put: None,
            backoff: Backoff::new(ETCD_RETRY_FIRST, ETCD_RETRY_LAST),
            again: None,
            complaint: Complaint::default(),
        }
    }

    /// The application has registered so often; true when that is news.
    pub fn registered(&mut self, registrations: u64) -> bool {
        let news = registrations != self.registrations;
        if news {
            self.registrations = registrations;
            self.again = None;
        }
        news
    }

    /// When [`Self::is_due`] may be true again without news.
    pub fn deadline(&self) -> Option<Instant> {
        self.again
    }

    pub fn is_due(&self, started_with: &StartedWith, now: Instant) -> bool {
        let put = self.registrations > 0 && self.put.as_ref() != Some(started_with);
        (put || !self.looked) && self.again.is_none_or(|again| now >= again)
    }

    /// Time has passed. Without an etcd nobody asks whether something is due, and the deadline must not stay in the past.
    pub fn on_tick(&mut self, now: Instant) {
        if self.again.is_some_and(|again| now >= again) {
            self.again = None;
        }
    }

    /// Looks, and puts. True when change sets may be delivered.
    pub fn run(
        &mut self,
        client: &mut Client,
        started_with: &StartedWith,
    ) -> Result<bool, EtcdError> {
        let found = calls::read_own(client, &self.own)?;
        if self.registrations > 0 {
            self.put(client, &found, started_with)?;
            self.put = Some(started_with.clone());
        }
        self.looked = true;
        self.again = None;
        self.backoff.reset();
        self.complaint.end();
        Ok(self.registrations > 0 || resumes(&self.own, &found))
    }

    fn put(
        &self,
        client: &mut Client,
        found: &Page,
        started_with: &StartedWith,
    ) -> Result<(), EtcdError> {
        let mut puts = puts(&self.own, found, started_with);
        let started_with = puts.len();
        puts.extend(registration(&self.own, found));
        let mut result = calls::put_all(client, &puts, found);
        if matches!(&result, Err(error) if error.is_permission()) && puts.len() > started_with {
            puts.truncate(started_with);
            result = calls::put_all(client, &puts, found);
            if result.is_ok() {
                log::warn!(
                    "etcd does not let CIM put {}: after a restart CIM waits for another registration",
                    self.own.memory_key()
                );
            }
        }
        if !result? {
            let reason = "a commit key was changed meanwhile".to_owned();
            return Err(EtcdError::Canceled { reason });
        }
        for put in puts.iter().take(started_with) {
            log::info!("the pod started with {} = {}", put.key, put.value);
        }
        Ok(())
    }

    /// [`Self::run`] has failed. True when change sets may be delivered all the same: etcd takes no such puts from CIM.
    pub fn failed(&mut self, error: &EtcdError, now: Instant, random: u64) -> bool {
        let text = chain(error);
        let refused = error.recovery() == Recovery::GiveUp;
        if self.complaint.is_news(&text) {
            let what = "what the pod started with cannot be put into etcd";
            log::warn!("{what}: {text}; trying again");
        }
        if refused {
            // Somebody has to change something there.
            self.looked = true;
            self.again = Some(now + SUBSCRIPTION_REFUSED_RETRY);
            return self.registrations > 0;
        }
        self.again = Some(now + self.backoff.next(random));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn subscription() -> Subscription {
        Subscription::new(Own {
            namespace: "ns1".into(),
            microservice: "ms1".into(),
            version: "v1".into(),
            pod: "cnf-0".into(),
            pod_uid: "u-1".into(),
        })
    }

    fn refused(code: i64) -> EtcdError {
        EtcdError::of_code("e", code, "", 0)
    }

    #[test]
    fn a_deadline_that_has_passed_is_none_any_more_even_when_nobody_asks_etcd() {
        let mut subscription = subscription();
        let now = Instant::now();
        let started = StartedWith::default();
        for code in [14, 7] {
            subscription.registered(u64::try_from(code).unwrap());
            subscription.failed(&refused(code), now, 0);
            let deadline = subscription.deadline().unwrap();
            assert!(deadline > now);
            assert!(!subscription.is_due(&started, now), "{code}");
            subscription.on_tick(deadline);
            assert_eq!(subscription.deadline(), None);
            assert!(subscription.is_due(&started, deadline), "{code}");
        }
    }

    #[test]
    fn a_refusal_holds_no_change_set_up_and_is_tried_again_later() {
        let mut subscription = subscription();
        let now = Instant::now();
        assert!(!subscription.failed(&refused(7), now, 0), "not registered");
        assert!(subscription.registered(1));
        assert!(subscription.is_due(&StartedWith::default(), now), "at once");
        assert!(subscription.failed(&refused(7), now, 0));
        let again = subscription.deadline().unwrap() - now;
        assert!(again >= Duration::from_secs(10));
        assert!(!subscription.failed(&refused(14), now, 0), "an outage does");
    }
}
