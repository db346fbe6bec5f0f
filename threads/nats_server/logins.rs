//! Credentials whose look takes its time (bcrypt hashes): a helper thread looks at them, one after the other, while the client waits.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;

use crate::nats::auth::{Check, Verdict};
use crate::nats::intake::Way;
use crate::nats::{Broker, ClientId};

use super::Loop;

/// Looks that are under way: all others wait in the broker, one for each client.
const UNDER_WAY: usize = 1;

type Job = (ClientId, u64, Check);
type Done = (ClientId, u64, Verdict);

/// The way to the helper, which lives as long as this does.
pub(super) struct Logins {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

impl Logins {
    /// Starts the helper.
    fn start(waker: Arc<Waker>) -> std::io::Result<Self> {
        let (jobs, todo) = bounded::<Job>(UNDER_WAY);
        let (results, done) = bounded(2 * UNDER_WAY);
        let helper = move || {
            for (id, number, check) in todo {
                if results.send((id, number, check.run())).is_err() {
                    return;
                }
                // It fails only when nobody is left to wake.
                let _ = waker.wake();
            }
        };
        std::thread::Builder::new()
            .name("nats-logins".into())
            .spawn(helper)?;
        Ok(Self { jobs, done })
    }

    fn give(&self, broker: &mut Broker) {
        while !self.jobs.is_full()
            && let Some(job) = broker.next_check()
        {
            let _ = self.jobs.try_send(job);
        }
    }
}

impl Loop {
    /// Takes what has come out, and gives the helper what there is.
    pub(super) fn settle_logins(&mut self) {
        if self.logins.is_none() {
            let Some((id, number, check)) = self.broker.next_check() else {
                return;
            };
            match Logins::start(Arc::clone(&self.waker)) {
                Ok(logins) => {
                    let _ = logins.jobs.try_send((id, number, check));
                    self.logins = Some(logins);
                }
                Err(error) => {
                    log::error!(
                        "NATS server cannot start the thread that looks at passwords: {error}"
                    );
                    self.broker.checked(id, number, Verdict::Denied);
                    return;
                }
            }
        }
        let mut done = Vec::new();
        if let Some(logins) = &self.logins {
            done.extend(logins.done.try_iter());
        }
        for (id, number, verdict) in done {
            self.broker.checked(id, number, verdict);
            let held = self
                .held
                .iter()
                .position(|&(held, way)| held == id && way == Way::Login);
            if let Some(at) = held {
                self.held.remove(at);
                // What somebody has sent who is not in does not count.
                if !self.broker.is_closing(id) {
                    let room = self.room();
                    self.resume(id, room);
                }
            }
        }
        // What has just gone on may want another look.
        if let Some(logins) = &self.logins {
            logins.give(&mut self.broker);
        }
    }
}
