//! The original's seven ends, and what it does not show.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A node's time of day, in the middle of a second.
fn wall() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_393_421_500)
}

const WALL_S: i64 = 1_795_393_421;

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What the surroundings do; times from the signal on.
struct Case {
    signal: EndSignal,
    in_pod: bool,
    /// What Kubernetes answers, and when.
    pod: Option<PodEnd>,
    pod_after: Duration,
    /// The application's status, `None` when it refuses, and how long it takes.
    status: Option<u16>,
    status_after: Duration,
    /// Further inputs, in order of time.
    then: Vec<(Duration, Input)>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            signal: EndSignal::Terminate,
            in_pod: true,
            pod: Some(PodEnd::default()),
            pod_after: Duration::ZERO,
            status: Some(200),
            status_after: Duration::ZERO,
            then: Vec::new(),
        }
    }
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct End {
    events: Vec<OwnEvent>,
    after: Duration,
    post_timeout: Duration,
    delete_pod: bool,
}

impl Case {
    fn run(&self) -> End {
        let start = Instant::now();
        let mut machine = Termination::new(self.in_pod, true);
        let mut queue = self.then.clone();
        queue.push((Duration::ZERO, Input::Signal(self.signal)));
        let mut end = End {
            events: Vec::new(),
            after: Duration::ZERO,
            post_timeout: Duration::ZERO,
            delete_pod: false,
        };
        loop {
            // The earliest input, or the time that the machine asks for.
            let timer = machine
                .wait_until()
                .map(|until| (until - start, Input::Time));
            let next = queue.iter().copied().chain(timer).min_by_key(|(at, _)| *at);
            let (at, input) = next.expect("it ends");
            queue.retain(|queued| *queued != (at, input));
            for action in machine.on(input, start + at) {
                match action {
                    Action::GetPod { timeout } => {
                        let after = self.pod_after.min(timeout);
                        let pod = self.pod.filter(|_| self.pod_after < timeout);
                        let wall = wall() + at + after;
                        queue.push((at + after, Input::Pod { pod, wall }));
                    }
                    Action::PostShutdown { timeout } => {
                        end.post_timeout = timeout;
                        let after = self.status_after.min(timeout);
                        let agreed = self.status == Some(200) && self.status_after < timeout;
                        queue.push((at + after, Input::Shutdown(agreed)));
                    }
                    Action::Raise(event) => end.events.push(event),
                    Action::Stop { delete_pod } => {
                        end.delete_pod = delete_pod;
                        end.after = at;
                        assert_eq!(machine.on(Input::Fatal, start + at), []);
                        assert_eq!(machine.wait_until(), None);
                        return end;
                    }
                }
            }
        }
    }
}

fn initiated(success: bool, signal: &'static str) -> OwnEvent {
    OwnEvent::ApplicationShutdownInitiated { success, signal }
}

/// A pod that is being deleted since the signal.
fn deleted(grace_s: i64) -> Option<PodEnd> {
    Some(PodEnd {
        deletion_s: Some(WALL_S + 1 + grace_s),
        deletion_grace_s: Some(grace_s),
        termination_grace_s: Some(30),
    })
}

macro_rules! golden {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../tests/golden/9-termination/", $name, ".result.json")))),*]
    };
}

#[test]
fn the_originals_seven_ends() {
    for (name, result) in golden!(
        "01_sigterm_pod_deleted_app_200_ShutdownSuccess"
        "02_sigterm_pod_deleted_app_200_no_event"
        "03_sigterm_pod_not_deleted_app_200"
        "04_sigterm_app_500"
        "05_sigterm_no_app"
        "06_sigint_app_200_ShutdownFailure"
        "07_sigterm_before_registration"
    ) {
        let golden: Value = serde_json::from_str(result).unwrap();
        let grace = golden["pod_already_deleted_with_grace_s"].as_i64();
        let event = golden["app_event_one_second_later"].as_str();
        let signal = match golden["signal"].as_str() {
            Some("SIGTERM") => EndSignal::Terminate,
            Some("SIGINT") => EndSignal::Interrupt,
            signal => panic!("{signal:?}"),
        };
        let status = golden["app_shutdown_status"].as_u64();
        let case = Case {
            signal,
            pod: Some(grace.and_then(deleted).unwrap_or_default()),
            status: status.map(|status| u16::try_from(status).unwrap()),
            then: event
                .map(|event| (s(1.0), Input::App(AppSignal::of(event.as_bytes()).unwrap())))
                .into_iter()
                .collect(),
            ..Case::default()
        };
        let end = case.run();
        // Better than the original: an application that refuses the connection is an event too (05).
        assert_eq!(
            end.events,
            [initiated(status == Some(200), signal.name())],
            "{name}"
        );
        // Better: a pod that is not being deleted has the grace of its specification too (03). The harness looked every 0.1 s.
        if grace.is_some() {
            let original = golden["ended_after_s"].as_f64().unwrap();
            assert!(
                (original - end.after.as_secs_f64()).abs() <= 0.6,
                "{name}: {end:?}"
            );
        } else {
            assert_eq!(end.after, s(27.0), "{name}");
        }
        // Better: a pod that is being deleted is not deleted once more.
        assert_eq!(end.delete_pod, grace.is_none(), "{name}");
    }
}

#[test]
fn the_grace_is_what_really_remains() {
    let pod = |deletion, deletion_grace, termination| PodEnd {
        deletion_s: deletion,
        deletion_grace_s: deletion_grace,
        termination_grace_s: termination,
    };
    for (what, pod, waits, post_timeout) in [
        (
            "a preStop hook took 20 of 30 s",
            Some(pod(Some(WALL_S + 10), Some(30), Some(30))),
            6.5,
            6.5,
        ),
        (
            "nothing is left",
            Some(pod(Some(WALL_S - 5), Some(30), Some(30))),
            0.0,
            1.0,
        ),
        (
            "less than the reserve is left",
            Some(pod(Some(WALL_S + 3), Some(30), None)),
            0.0,
            1.0,
        ),
        (
            "no more than the grace is left, whatever the clocks say",
            Some(pod(Some(WALL_S + 500), Some(30), None)),
            27.0,
            10.0,
        ),
        (
            "a deletion without its grace",
            Some(pod(Some(WALL_S + 20), None, Some(10))),
            16.5,
            10.0,
        ),
        (
            "a deletion without its time",
            Some(pod(None, Some(9), Some(30))),
            6.0,
            6.0,
        ),
        (
            "deletion at once",
            Some(pod(Some(WALL_S), Some(0), Some(30))),
            0.0,
            1.0,
        ),
        (
            "not deleted, grace of the specification",
            Some(pod(None, None, Some(60))),
            57.0,
            10.0,
        ),
        (
            "not deleted, grace of 0",
            Some(pod(None, None, Some(0))),
            0.0,
            1.0,
        ),
        ("nothing said", Some(PodEnd::default()), 27.0, 10.0),
        ("Kubernetes could not be asked", None, 27.0, 10.0),
        ("nonsense", Some(pod(None, None, Some(-7))), 0.0, 1.0),
        (
            "for ever",
            Some(pod(None, None, Some(i64::MAX))),
            3597.0,
            10.0,
        ),
        (
            "until the end of time",
            Some(pod(Some(i64::MAX), None, None)),
            3597.0,
            10.0,
        ),
        (
            "before time began",
            Some(pod(Some(i64::MIN), Some(i64::MIN), None)),
            0.0,
            1.0,
        ),
    ] {
        let case = Case {
            pod,
            ..Case::default()
        };
        let end = case.run();
        assert_eq!(
            (end.after, end.post_timeout),
            (s(waits), s(post_timeout)),
            "{what}"
        );
        assert_eq!(end.events, [initiated(true, "terminated")], "{what}");
    }
}

#[test]
fn time_spent_on_asking_and_telling_is_part_of_the_grace() {
    for (pod, after) in [
        (deleted(20), 17.5),
        (None, 27.0),
        (Some(PodEnd::default()), 27.0),
    ] {
        let case = Case {
            pod,
            pod_after: s(1.0),
            status_after: s(4.0),
            ..Case::default()
        };
        assert_eq!(case.run().after, s(after));
    }
    // Kubernetes hangs.
    let case = Case {
        pod: deleted(9),
        pod_after: s(60.0),
        ..Case::default()
    };
    let end = case.run();
    assert_eq!((end.after, end.delete_pod), (s(27.0), false));
    // The application hangs.
    let case = Case {
        status_after: s(60.0),
        ..Case::default()
    };
    let end = case.run();
    assert_eq!(end.after, s(10.0));
    assert_eq!(end.events, [initiated(false, "terminated")]);
}

#[test]
fn only_a_200_is_a_promise() {
    for (status, success) in [
        (Some(200), true),
        (Some(202), false),
        (Some(204), false),
        (Some(302), false),
        (Some(404), false),
        (Some(500), false),
        (None, false),
    ] {
        let case = Case {
            status,
            then: vec![(s(2.0), Input::App(AppSignal::ShutdownSuccess))],
            ..Case::default()
        };
        let end = case.run();
        assert_eq!(end.events, [initiated(success, "terminated")], "{status:?}");
        assert_eq!(end.after, s(if success { 2.0 } else { 0.0 }), "{status:?}");
    }
}

#[test]
fn the_wait_ends_with_what_it_waits_for_or_a_second_signal_and_with_nothing_else() {
    let again = Input::Signal(EndSignal::Terminate);
    for (input, after) in [
        (Input::App(AppSignal::ShutdownSuccess), 5.0),
        (Input::App(AppSignal::ShutdownFailure), 5.0),
        (again, 5.0),
        (Input::Fatal, 5.0),
        (Input::App(AppSignal::Configured), 27.0),
        (Input::App(AppSignal::NotConfigured), 27.0),
        (Input::Shutdown(false), 27.0),
        (
            Input::Pod {
                pod: deleted(0),
                wall: wall(),
            },
            27.0,
        ),
        (Input::Time, 27.0),
    ] {
        let case = Case {
            then: vec![(s(5.0), input)],
            ..Case::default()
        };
        assert_eq!(case.run().after, s(after), "{input:?}");
    }
    // While the application is being told: it is told to the end, and nothing is waited for after it.
    for input in [again, Input::App(AppSignal::ShutdownSuccess)] {
        let case = Case {
            status_after: s(2.0),
            then: vec![(s(1.0), input)],
            ..Case::default()
        };
        let end = case.run();
        assert_eq!(end.after, s(2.0), "{input:?}");
        assert_eq!(end.events, [initiated(true, "terminated")]);
    }
}

#[test]
fn an_event_from_before_the_signal_is_no_answer_to_it() {
    let start = Instant::now();
    let mut machine = Termination::new(false, true);
    assert_eq!(
        machine.on(Input::App(AppSignal::ShutdownFailure), start),
        []
    );
    assert_eq!(machine.on(Input::Time, start), []);
    machine.on(Input::Signal(EndSignal::Interrupt), start);
    machine.on(Input::Shutdown(true), start);
    assert_eq!(machine.wait_until(), Some(start + s(27.0)));
    assert_eq!(machine.killed_at(), Some(start + s(30.0)));
}

#[test]
fn the_pod_is_deleted_when_cim_ends_by_itself() {
    let signal = Input::Signal(EndSignal::Terminate);
    let told = |pod| Input::Pod { pod, wall: wall() };
    let alive = Some(PodEnd::default());
    for (what, inputs, deletes) in [
        ("a fatal error", vec![Input::Fatal], true),
        (
            "a fatal error during a deletion",
            vec![signal, told(deleted(9)), Input::Fatal],
            false,
        ),
        (
            "a fatal error, Kubernetes not asked yet",
            vec![signal, Input::Fatal],
            true,
        ),
        (
            "a fatal error, Kubernetes out of reach",
            vec![signal, told(None), Input::Fatal],
            true,
        ),
        (
            "a signal from elsewhere",
            vec![signal, told(alive), Input::Shutdown(false)],
            true,
        ),
        (
            "the pod's own deletion",
            vec![signal, told(deleted(9)), Input::Shutdown(false)],
            false,
        ),
        (
            "a signal, Kubernetes out of reach",
            vec![signal, told(None), Input::Shutdown(false)],
            false,
        ),
    ] {
        for (in_pod, allowed) in [(true, true), (true, false), (false, true)] {
            let now = Instant::now();
            let mut machine = Termination::new(in_pod, allowed);
            let mut actions = Vec::new();
            for &input in &inputs {
                actions.extend(machine.on(input, now));
            }
            let expected = Action::Stop {
                delete_pod: deletes && in_pod && allowed,
            };
            assert_eq!(actions.last(), Some(&expected), "{what}");
            assert_eq!(
                actions.contains(&Action::GetPod {
                    timeout: POD_STATE_TIME
                }),
                in_pod && inputs[0] == signal,
                "{what}"
            );
        }
    }
}

#[test]
fn the_pods_end_is_what_its_object_says() {
    let pod = Pod {
        deletion_timestamp: chrono::DateTime::from_timestamp(WALL_S, 0),
        deletion_grace_seconds: Some(9),
        termination_grace_seconds: Some(30),
        ..Pod::default()
    };
    let end = PodEnd {
        deletion_s: Some(WALL_S),
        deletion_grace_s: Some(9),
        termination_grace_s: Some(30),
    };
    assert_eq!(PodEnd::from(&pod), end);
    assert_eq!(PodEnd::from(&Pod::default()), PodEnd::default());
}

fn inputs() -> impl Strategy<Value = Input> {
    let seconds = prop_oneof![
        Just(None),
        any::<i64>().prop_map(Some),
        (0..60_i64).prop_map(Some)
    ];
    let at = prop_oneof![
        Just(None),
        any::<i64>().prop_map(Some),
        (WALL_S - 9..WALL_S + 99).prop_map(Some)
    ];
    prop_oneof![
        Just(Input::Signal(EndSignal::Terminate)),
        Just(Input::Signal(EndSignal::Interrupt)),
        Just(Input::Time),
        any::<bool>().prop_map(Input::Shutdown),
        Just(Input::App(AppSignal::ShutdownSuccess)),
        Just(Input::Pod {
            pod: None,
            wall: wall()
        }),
        (at, seconds.clone(), seconds).prop_map(
            |(deletion_s, deletion_grace_s, termination_grace_s)| {
                let pod = Some(PodEnd {
                    deletion_s,
                    deletion_grace_s,
                    termination_grace_s,
                });
                Input::Pod { pod, wall: wall() }
            }
        ),
    ]
}

proptest! {
    /// Whatever comes, and however late: after a signal it ends within the longest grace, stops once, raises one event at
    /// most, and tells the application once at most.
    #[test]
    fn it_always_ends(steps in prop::collection::vec((inputs(), 0..20_000_u64), 0..20)) {
        let mut now = Instant::now();
        let mut machine = Termination::new(true, true);
        let mut actions = machine.on(Input::Signal(EndSignal::Terminate), now);
        let signal = now;
        for (input, ms) in steps {
            now += Duration::from_millis(ms);
            actions.extend(machine.on(input, now));
        }
        while let Some(until) = machine.wait_until() {
            prop_assert!(until <= now.max(signal + GRACE_LONGEST) + Duration::from_secs(15));
            now = now.max(until);
            actions.extend(machine.on(Input::Time, now));
        }
        let count = |is: fn(&Action) -> bool| actions.iter().filter(|action| is(action)).count();
        prop_assert_eq!(count(|a| matches!(a, Action::Stop { .. })), 1);
        prop_assert_eq!(count(|action| matches!(action, Action::PostShutdown { .. })), 1);
        prop_assert_eq!(count(|action| matches!(action, Action::Raise(_))), 1);
        let last = actions.last();
        prop_assert!(matches!(last, Some(Action::Stop { .. })), "{last:?}");
    }
}

#[test]
fn a_pod_whose_application_is_gone_completes_and_is_not_deleted() {
    let now = Instant::now();
    let mut machine = Termination::new(true, true);
    assert!(!machine.is_pod_done());
    let stop = Action::Stop { delete_pod: false };
    assert_eq!(machine.on(Input::AppGone, now), [stop]);
    assert!(machine.is_pod_done(), "what etcd remembers of it can go");
    // The end has begun already: it goes on as it does.
    let mut machine = Termination::new(false, true);
    let signal = Input::Signal(EndSignal::Terminate);
    assert_eq!(machine.on(signal, now).len(), 1);
    assert_eq!(machine.on(Input::AppGone, now), []);
    assert!(!machine.is_pod_done());
}
