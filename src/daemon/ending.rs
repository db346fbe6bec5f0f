//! From the cause of the end to the stop: Kubernetes is asked, the application is told and waited for (CONTRACT section 10). Everything
//! still works meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use crossbeam_channel::{at, bounded, never, select};

use super::{Daemon, complain};
use crate::app::{AppClient, SHUTDOWN};
use crate::chain::chain;
use crate::exception;
use crate::kube::{Command, Pod};
use crate::limits::DELETE_POD_TIME;
use crate::termination::{Action, EndSignal, Input, PodEnd, Termination};

/// Why CIM ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody has asked it to.
    Signal(EndSignal),
    /// This thread has ended unasked.
    Died(&'static str),
    /// The application is gone for good.
    AppGone,
}

/// How CIM is to stop.
pub(super) struct Ending {
    /// The thread that has ended unasked.
    pub failed: Option<&'static str>,
    /// The pod is to be deleted.
    pub delete_pod: bool,
    /// When Kubernetes kills CIM: the stop must be over by then.
    pub killed_at: Option<Instant>,
}

impl Daemon {
    /// Does what comes before the stop.
    pub(super) fn ending(&self, cause: Cause) -> Ending {
        let options = &self.surroundings.options;
        let mut machine = Termination::new(self.to_kubernetes.is_some(), options.delete_pod);
        let mut app = AppClient::new();
        // What the application said of its end before it was told to end says nothing.
        self.shutdown.try_iter().for_each(drop);
        self.nats_stop.soon();
        (self.wake_nats)();
        let mut failed = None;
        let mut inputs = VecDeque::from([self.input(cause, &mut failed)]);
        loop {
            let input = match inputs.pop_front() {
                Some(input) => input,
                None => self.next_input(machine.wait_until(), &mut failed),
            };
            for action in machine.on(input, Instant::now()) {
                match action {
                    Action::GetPod { timeout } => {
                        let pod = self.pod(Instant::now() + timeout);
                        inputs.push_back(Input::Pod {
                            pod: pod.as_ref().map(PodEnd::from),
                            wall: SystemTime::now(),
                        });
                    }
                    Action::PostShutdown { timeout } => {
                        let target = self.surroundings.application();
                        let answer = app.post(&target, SHUTDOWN, b"", timeout);
                        match &answer {
                            Ok(answer) => log::info!(
                                "the application answers the request to shut down with {answer}"
                            ),
                            Err(error) => log::info!("{}", chain(error)),
                        }
                        let agreed = answer.is_ok_and(|answer| answer.status == 200);
                        inputs.push_back(Input::Shutdown(agreed));
                    }
                    Action::Raise(event) => {
                        if let Some(own_events) = &self.own_events {
                            own_events.raise(event);
                        }
                    }
                    Action::Stop { delete_pod } => {
                        let killed_at = machine.killed_at();
                        // The delivery looks at it when all else is done.
                        self.forget.store(machine.is_pod_done(), Ordering::Release);
                        return Ending {
                            failed,
                            delete_pod,
                            killed_at,
                        };
                    }
                }
            }
        }
    }

    /// Waits for something that concerns the end.
    fn next_input(&self, until: Option<Instant>, failed: &mut Option<&'static str>) -> Input {
        let timer = until.map_or_else(never, at);
        loop {
            select! {
                recv(self.notices) -> notice => match notice {
                    Ok(notice) => if let Some(cause) = self.notice(notice) {
                        return self.input(cause, failed);
                    },
                    Err(_) => return self.input(Cause::Died("signals"), failed),
                },
                recv(self.shutdown) -> signal => match signal {
                    Ok(signal) => {
                        log::info!("the application says {signal:?}");
                        return Input::App(signal);
                    }
                    // Its thread has ended, which is a notice.
                    Err(_) => return Input::Fatal,
                },
                recv(timer) -> _ => return Input::Time,
            }
        }
    }

    fn input(&self, cause: Cause, failed: &mut Option<&'static str>) -> Input {
        match cause {
            Cause::Signal(signal) => {
                log::info!("{}: CIM ends", signal.name());
                Input::Signal(signal)
            }
            Cause::AppGone => {
                log::info!("the application is gone, and nothing is left to deliver: CIM ends");
                Input::AppGone
            }
            Cause::Died(thread) => {
                *failed = Some(thread);
                let reason = format!("thread {thread} has ended unasked: CIM stops");
                self.health.fail(&reason);
                complain(&reason);
                exception!("{reason}");
                Input::Fatal
            }
        }
    }

    /// The own pod as Kubernetes has it, when it says so by then.
    fn pod(&self, until: Instant) -> Option<Pod> {
        let (reply, answer) = bounded(1);
        let time = until.saturating_duration_since(Instant::now());
        let to = self.to_kubernetes.as_ref()?;
        to.try_send(Command::GetPod { time, reply }).ok()?;
        match answer.recv_deadline(until).ok()? {
            Ok(pod) => Some(pod),
            Err(error) => {
                log::warn!("{}", chain(&error));
                None
            }
        }
    }

    /// So that application and sidecar start together. The own log is gone by now.
    pub(super) fn delete_pod(&self) {
        let Some(to) = &self.to_kubernetes else {
            return;
        };
        let (reply, answer) = bounded(1);
        let command = Command::DeletePod {
            reason: "CIM ends by itself".to_owned(),
            time: DELETE_POD_TIME,
            reply,
        };
        let sent = to.send_timeout(command, DELETE_POD_TIME).is_ok();
        match sent.then(|| answer.recv_timeout(DELETE_POD_TIME)) {
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => complain(&format!("the pod is not deleted: {}", chain(&error))),
            Some(Err(_)) | None => complain("the pod is not deleted: Kubernetes does not answer"),
        }
    }
}
