//! What has to be asked next, and when: each step is tried until it is done. Reads no clock.

use std::time::{Duration, Instant};

use super::error::Recovery;
use crate::limits::{KUBE_RETRY_FIRST, KUBE_RETRY_LAST, KUBE_RETRY_SLOW, TMAAS_RETRY_FIRST};

/// Something to ask, in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The own pod is to be deleted.
    DeletePod,
    /// The own pod: who this sidecar is.
    Pod,
    /// The ConfigMap: whether it exists, and what it says.
    ConfigMap,
    /// The ConfigMap is to be made.
    CreateConfigMap,
    /// The ClusterRole that says where TMaaS is.
    ClusterRole,
    /// common-infra.json from TMaaS.
    CommonInfra,
}

const STEPS: usize = 6;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This.
    Do(Step),
    /// Nothing before this time.
    At(Instant),
    /// Nothing.
    Nothing,
}

/// The steps that are wanted.
#[derive(Debug, Default)]
pub struct Schedule([Option<Pending>; STEPS]);

#[derive(Debug)]
struct Pending {
    at: Instant,
    tries: u32,
    failure: Option<String>,
}

impl Schedule {
    /// `step` is wanted from `now` on, unless it is already.
    pub fn want(&mut self, step: Step, now: Instant) {
        self.place(step).get_or_insert(Pending {
            at: now,
            tries: 0,
            failure: None,
        });
    }

    /// `step` is not wanted any more.
    pub fn done(&mut self, step: Step) {
        *self.place(step) = None;
    }

    /// `step` has failed; it is tried again at `now` + `delay`(tries so far). True when it failed in another way than last time.
    pub fn failed(
        &mut self,
        step: Step,
        failure: String,
        now: Instant,
        delay: impl FnOnce(u32) -> Duration,
    ) -> bool {
        let Some(pending) = self.place(step) else {
            return false;
        };
        pending.tries = pending.tries.saturating_add(1);
        pending.at = now + delay(pending.tries);
        let is_new = pending.failure.as_ref() != Some(&failure);
        pending.failure = Some(failure);
        is_new
    }

    /// What to do at `now`.
    pub fn next(&self, now: Instant) -> Next {
        let pending = || {
            let steps = self.0.iter().zip(ORDER);
            steps.filter_map(|(pending, step)| Some((step, pending.as_ref()?.at)))
        };
        if let Some((step, _)) = pending().find(|(_, at)| *at <= now) {
            return Next::Do(step);
        }
        let next = pending().map(|(_, at)| at).min();
        next.map_or(Next::Nothing, Next::At)
    }

    /// Why the first step that fails does so.
    pub fn failure(&self) -> Option<&str> {
        let mut failures = self
            .0
            .iter()
            .flatten()
            .filter_map(|pending| pending.failure.as_deref());
        failures.next()
    }

    /// `step` is wanted.
    pub fn wants(&self, step: Step) -> bool {
        let mut steps = self.0.iter().zip(ORDER);
        steps.any(|(pending, other)| other == step && pending.is_some())
    }

    /// How often `step` has failed since it is wanted.
    pub fn tries(&self, step: Step) -> u32 {
        let mut steps = self.0.iter().zip(ORDER);
        let found = steps.find(|(_, other)| *other == step);
        found
            .and_then(|(pending, _)| pending.as_ref())
            .map_or(0, |pending| pending.tries)
    }

    /// There is a step that has not failed yet: it is tried next. When a failed one is done, nobody knows.
    pub fn settles_soon(&self) -> bool {
        let mut pending = self.0.iter().flatten();
        pending.any(|pending| pending.failure.is_none())
    }

    fn place(&mut self, step: Step) -> &mut Option<Pending> {
        let [delete, pod, config_map, create, role, infra] = &mut self.0;
        match step {
            Step::DeletePod => delete,
            Step::Pod => pod,
            Step::ConfigMap => config_map,
            Step::CreateConfigMap => create,
            Step::ClusterRole => role,
            Step::CommonInfra => infra,
        }
    }
}

const ORDER: [Step; STEPS] = [
    Step::DeletePod,
    Step::Pod,
    Step::ConfigMap,
    Step::CreateConfigMap,
    Step::ClusterRole,
    Step::CommonInfra,
];

impl Recovery {
    /// Time until the next try after `tries` failed ones.
    pub fn delay(self, tries: u32) -> Duration {
        let backed_off = doubled(KUBE_RETRY_FIRST, tries, KUBE_RETRY_LAST);
        match self {
            Self::Again => backed_off,
            Self::AgainAfter(wait) => wait.max(backed_off),
            Self::Slowly | Self::Absent | Self::Never => KUBE_RETRY_SLOW,
        }
    }
}

/// Time until TMaaS is asked again after `tries` failed ones: a second for the first `retries`
/// (`cim_settings.remote_svc_retry_count`), then doubled up to a minute.
pub fn tmaas_delay(tries: u32, retries: u32) -> Duration {
    doubled(
        TMAAS_RETRY_FIRST,
        tries.saturating_sub(retries).saturating_add(1),
        KUBE_RETRY_SLOW,
    )
}

/// `first`, doubled with each try after the first one, at most `last`.
fn doubled(first: Duration, tries: u32, last: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(tries.saturating_sub(1));
    first.saturating_mul(factor).min(last)
}

/// `delay`, up to a quarter longer, so that the pods of a node do not ask all at once.
pub fn spread(delay: Duration, random: u8) -> Duration {
    delay + delay * u32::from(random) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_tried_in_order_until_they_are_done() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(schedule.next(start), Next::Nothing);
        schedule.want(Step::CommonInfra, start);
        schedule.want(Step::Pod, start);
        assert_eq!(schedule.next(start), Next::Do(Step::Pod));
        let delay = |tries| Duration::from_secs(u64::from(tries) * 10);
        assert!(schedule.failed(Step::Pod, "a".to_owned(), start, delay));
        assert_eq!(schedule.next(start), Next::Do(Step::CommonInfra));
        schedule.done(Step::CommonInfra);
        assert_eq!(schedule.next(start), Next::At(at(10)));
        assert_eq!(schedule.next(at(10)), Next::Do(Step::Pod));
        assert!(
            !schedule.failed(Step::Pod, "a".to_owned(), at(10), delay),
            "said already"
        );
        assert_eq!(schedule.next(at(10)), Next::At(at(30)));
        assert_eq!(schedule.failure(), Some("a"));
        assert!(!schedule.settles_soon());
        schedule.want(Step::Pod, at(11));
        assert_eq!(schedule.next(at(11)), Next::At(at(30)), "wanted already");
        assert!(schedule.failed(Step::Pod, "b".to_owned(), at(30), delay));
        let tries = [Step::Pod, Step::ConfigMap].map(|step| schedule.tries(step));
        assert_eq!(tries, [3, 0]);
        schedule.done(Step::Pod);
        assert_eq!(schedule.tries(Step::Pod), 0);
        assert_eq!(
            (schedule.next(at(99)), schedule.failure()),
            (Next::Nothing, None)
        );
        assert!(!schedule.failed(Step::Pod, "late".to_owned(), start, delay));
        assert!(!schedule.wants(Step::Pod));
        schedule.want(Step::Pod, start);
        assert!(schedule.wants(Step::Pod) && schedule.settles_soon());
    }

    #[test]
    fn delays_grow_up_to_their_bound() {
        let ms = |delay: Duration| delay.as_millis();
        for (recovery, tries, expected) in [
            (Recovery::Again, 1, 500),
            (Recovery::Again, 2, 1000),
            (Recovery::Again, 7, 30_000),
            (Recovery::Again, u32::MAX, 30_000),
            (Recovery::AgainAfter(Duration::from_secs(7)), 1, 7000),
            (Recovery::AgainAfter(Duration::ZERO), 3, 2000),
            (Recovery::Slowly, 1, 60_000),
        ] {
            assert_eq!(ms(recovery.delay(tries)), expected, "{recovery:?} {tries}");
        }
        for (tries, retries, expected) in [
            (1, 3, 1000),
            (3, 3, 1000),
            (4, 3, 2000),
            (5, 3, 4000),
            (99, 3, 60_000),
        ] {
            assert_eq!(ms(tmaas_delay(tries, retries)), expected, "{tries}");
        }
        assert_eq!(ms(spread(Duration::from_secs(4), 0)), 4000);
        assert_eq!(ms(spread(Duration::from_secs(4), 255)), 4996);
    }
}
