//! Thread `kubernetes`: the only one that calls the Kubernetes API and TMaaS while CIM works.
//!
//! In: `commands`. It learns who the pod is, whether the ConfigMap exists and what it says, where TMaaS is, and common-infra.json
//! where there is no file; each is tried with back-off until it is known. Then it sleeps until a command comes.
//! Out: the shared identity, the settings, the health; `changed` after each of the first two. Ends when its [`Stopper`] says so, the call
//! under way included, or when no sender of `commands` is left.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::health::{Health, Part, State};
use crate::identity::{Current, Identity, topogw_fqdn};
use crate::kube::{
    self, Client, Closer, Command, ConfigMap, Created, KubeError, Next, Recovery, Schedule, Step,
    Tmaas, config_map, spread, tmaas_delay,
};
use crate::limits::{KUBE_CALL_TIME, KUBE_COMMANDS, KUBE_SETTLING_TRIES, REGISTRATIONS_WAITING};
use crate::own_log::OwnLog;
use crate::random;
use crate::settings::Store;
use crate::settings::effect::{Told, take_effect};
use crate::threads::spawn::{Notice, spawn};

/// The least time that a call gets when somebody waits for its end.
const LEAST_TIME: Duration = Duration::from_millis(100);

/// The thread before it starts.
pub struct Kubernetes {
    /// The API server.
    pub client: Client,
    /// TMaaS.
    pub tmaas: Tmaas,
    /// Who the environment says that this sidecar is.
    pub environment: Identity,
    /// Who this sidecar is, for all threads.
    pub identity: Arc<Current>,
    /// The settings in force.
    pub settings: Arc<Store>,
    /// CIM's own log, whose level settings change.
    pub own_log: Arc<OwnLog>,
    /// Says how Kubernetes is.
    pub health: Arc<Health>,
    /// What others ask; the other end of it is in `spawn`'s argument and with whoever asks.
    pub commands: Receiver<Command>,
    /// Called after the identity or the settings have changed. It must not block.
    pub changed: Box<dyn Fn() + Send>,
}

/// Ends the thread: with [`Stopper::stop`], or by being dropped.
pub struct Stopper {
    stop: Arc<AtomicBool>,
    commands: Sender<Command>,
    closers: [Closer; 2],
}

impl Stopper {
    /// Ends the call that is under way and asks the thread to end; join it afterwards.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.closers.iter().for_each(Closer::close);
        // Without room the thread has commands to take, and sees the flag.
        let _ = self.commands.try_send(Command::Stop);
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Kubernetes {
    /// Starts the thread. `commands` is the sending end of [`Kubernetes::commands`].
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn spawn(
        self,
        commands: Sender<Command>,
        notices: &Sender<Notice>,
    ) -> io::Result<(JoinHandle<()>, Stopper)> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopper = Stopper {
            stop: Arc::clone(&stop),
            commands,
            closers: [self.client.closer(), self.tmaas.closer()],
        };
        let mut worker = Worker {
            k: self,
            schedule: Schedule::default(),
            node: None,
            create: false,
            waiters: Vec::new(),
            stop,
        };
        let thread = spawn("kubernetes", notices, move || worker.run())?;
        Ok((thread, stopper))
    }
}

/// A registration whose answer waits.
struct Waiter {
    until: Instant,
    done: Box<dyn FnOnce() + Send>,
}

struct Worker {
    k: Kubernetes,
    schedule: Schedule,
    /// Where the own pod runs, once it is known.
    node: Option<String>,
    /// A registration has asked for the ConfigMap, and it is not there yet.
    create: bool,
    waiters: Vec<Waiter>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(&mut self) {
        self.schedule.want(Step::Pod, Instant::now());
        loop {
            for _ in 0..KUBE_COMMANDS {
                match self.k.commands.try_recv() {
                    Ok(command) => self.command(command),
                    Err(_) => break,
                }
            }
            // Not before: `Command::Stop` may have been among them, and nothing else would wake the thread.
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let now = Instant::now();
            self.answer(|waiter| waiter.until <= now);
            let command = match self.schedule.next(now) {
                Next::Do(step) => {
                    self.step(step);
                    continue;
                }
                Next::At(time) => {
                    self.rest();
                    self.k.commands.recv_deadline(time)
                }
                Next::Nothing => {
                    self.rest();
                    self.k.commands.recv().map_err(RecvTimeoutError::from)
                }
            };
            match command {
                Ok(command) => self.command(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// No socket and no TLS state is kept while there is nothing to do.
    fn rest(&self) {
        self.k.client.rest();
        self.k.tmaas.rest();
    }

    fn command(&mut self, command: Command) {
        let identity = self.k.identity.load();
        let (namespace, pod) = (&identity.namespace, &identity.pod);
        match command {
            Command::Registered { until, done } => self.registered(Waiter { until, done }),
            Command::RestartPod { reason } => {
                log::error!("the pod is deleted, so that it starts again: {reason}");
                self.schedule.want(Step::DeletePod, Instant::now());
            }
            Command::DeletePod {
                reason,
                time,
                reply,
            } => {
                log::warn!("the pod is deleted, so that it starts again: {reason}");
                let uid = identity.pod_uid.as_deref();
                let deleted = self.k.client.delete_pod(namespace, pod, uid, time);
                if let Err(error) = &deleted {
                    log::error!("{error}");
                }
                // Room for one: an error says that nobody waits any more.
                let _ = reply.try_send(deleted);
            }
            Command::GetPod { time, reply } => {
                let _ = reply.try_send(self.k.client.get_pod(namespace, pod, time));
            }
            Command::LocalCollector { time, reply } => {
                let _ = reply.try_send(self.local_collector(time));
            }
            // It wakes the loop, which looks at the flag that came before it.
            Command::Stop => {}
        }
    }

    fn local_collector(&mut self, time: Duration) -> Result<Option<IpAddr>, KubeError> {
        let until = Instant::now() + time;
        let identity = self.k.identity.load();
        if self.node.is_none() {
            let (namespace, pod) = (&identity.namespace, &identity.pod);
            self.node = self.k.client.get_pod(namespace, pod, time)?.node_name;
        }
        let Some(node) = &self.node else {
            return Ok(None);
        };
        let left = until.saturating_duration_since(Instant::now());
        kube::local_collector(&self.k.client, &identity.namespace, node, left)
    }

    fn registered(&mut self, waiter: Waiter) {
        let settings = &self.k.settings;
        self.create = !settings.is_mounted() && settings.config_map().is_none();
        // Else it is made once the pod and the absence of its ConfigMap are known.
        let is_looked_for = self.schedule.wants(Step::Pod) || self.schedule.wants(Step::ConfigMap);
        if self.create && !is_looked_for && self.knows_name() {
            self.schedule.want(Step::CreateConfigMap, Instant::now());
        }
        if self.schedule.settles_soon() && self.waiters.len() < REGISTRATIONS_WAITING {
            self.waiters.push(waiter);
        } else {
            (waiter.done)();
        }
    }

    /// Without a name no ConfigMap is made, which is said.
    fn knows_name(&mut self) -> bool {
        let is_known = config_map::name(&self.k.identity.load()).is_some();
        if !is_known && self.create {
            self.create = false;
            log::warn!(
                "no ConfigMap is made: the annotation xgvela.com/tmaas of the pod gives no nfServiceType"
            );
        }
        is_known
    }

    /// Answers the registrations for which `now` holds.
    fn answer(&mut self, now: impl Fn(&Waiter) -> bool) {
        let (answered, waiting) = std::mem::take(&mut self.waiters).into_iter().partition(now);
        self.waiters = waiting;
        let answered: Vec<Waiter> = answered;
        answered.into_iter().for_each(|waiter| (waiter.done)());
    }

    /// For one call.
    fn time(&self) -> Duration {
        let now = Instant::now();
        let until = self.waiters.iter().map(|waiter| waiter.until - now).min();
        until.map_or(KUBE_CALL_TIME, |left| {
            left.clamp(LEAST_TIME, KUBE_CALL_TIME)
        })
    }

    fn step(&mut self, step: Step) {
        let result = match step {
            Step::DeletePod => self.restart_pod(),
            Step::Pod => self.learn_pod(),
            Step::ConfigMap => self.learn_config_map(),
            Step::CreateConfigMap => self.create_config_map(),
            Step::ClusterRole => self.learn_cluster_role(),
            Step::CommonInfra => self.learn_common_infra(),
        };
        let done = result.is_ok();
        let passes = matches!(&result, Err(failure) if failure.recovery == Recovery::Again);
        match result {
            Ok(()) => self.schedule.done(step),
            Err(failure) => self.failed(step, failure),
        }
        let is_settled = match step {
            Step::Pod => !done || !self.schedule.wants(Step::ConfigMap),
            // It says which change sets are done: worth a few tries, not an application without configuration for hours.
            Step::ConfigMap => !passes || self.schedule.tries(step) >= KUBE_SETTLING_TRIES,
            _ => false,
        };
        if is_settled && !self.k.identity.is_settled() {
            self.k.identity.settle();
            (self.k.changed)();
        }
        if !self.schedule.settles_soon() {
            self.answer(|_| true);
        }
        self.say_how_it_is();
    }

    fn failed(&mut self, step: Step, failure: Failure) {
        if self.stop.load(Ordering::SeqCst) {
            return;
        }
        // Without randomness the pods of a node ask all at once, which the server's 429 would spread.
        let [random, ..] = random::number().to_ne_bytes();
        let retries = self
            .k
            .settings
            .load()
            .cim
            .cim_settings
            .remote_svc_retry_count;
        let delay = |tries| {
            let delay = match step {
                Step::CommonInfra => tmaas_delay(tries, retries),
                _ => failure.recovery.delay(tries),
            };
            spread(delay, random)
        };
        if self
            .schedule
            .failed(step, failure.text.clone(), Instant::now(), delay)
        {
            log::warn!("{}; CIM goes on trying", failure.text);
        }
    }

    fn say_how_it_is(&self) {
        let health = &self.k.health;
        if let Some(failure) = self.schedule.failure() {
            let next = "CIM asks until it works, and goes on with what it knows";
            return health.not_ready(Part::Kubernetes, failure, next);
        }
        if self.schedule.settles_soon() {
            let why = "Kubernetes has not answered yet who this pod is";
            return health.not_ready(Part::Kubernetes, why, "the answer is waited for");
        }
        let reason = match self.k.settings.config_map() {
            Some(revision) => format!("the ConfigMap exists, revision {revision:?}"),
            None => "there is no ConfigMap".to_owned(),
        };
        health.set(Part::Kubernetes, State::Ready, &reason);
    }

    fn restart_pod(&mut self) -> Result<(), Failure> {
        let identity = self.k.identity.load();
        let uid = identity.pod_uid.as_deref();
        let client = &self.k.client;
        client.delete_pod(&identity.namespace, &identity.pod, uid, self.time())?;
        Ok(())
    }

    fn learn_pod(&mut self) -> Result<(), Failure> {
        let (namespace, pod) = (&self.k.environment.namespace, &self.k.environment.pod);
        let pod = self.k.client.get_pod(namespace, pod, self.time())?;
        self.node.clone_from(&pod.node_name);
        let (identity, warnings) = self.k.environment.with_pod(&pod);
        for warning in warnings {
            log::warn!("{warning}");
        }
        log::info!(
            "Kubernetes says who this is: microservice {:?}, version {:?}",
            identity.microservice.as_deref().unwrap_or_default(),
            identity.version
        );
        self.k.identity.store(identity);
        (self.k.changed)();
        let now = Instant::now();
        if self.knows_name() {
            self.schedule.want(Step::ConfigMap, now);
        }
        let identity = self.k.identity.load();
        if identity.topogw_fqdn.is_some() {
            self.want_common_infra();
        } else if identity.cluster_role().is_some() {
            self.schedule.want(Step::ClusterRole, now);
        } else if self.k.settings.lacks_infra() {
            log::warn!(
                "no common-infra.json, and nothing says where TMaaS is: the pod has neither the annotation topogw.fqdn nor an xgvelaId"
            );
        }
        Ok(())
    }

    fn want_common_infra(&mut self) {
        if self.k.settings.lacks_infra() {
            self.schedule.want(Step::CommonInfra, Instant::now());
        }
    }

    fn learn_config_map(&mut self) -> Result<(), Failure> {
        let identity = self.k.identity.load();
        let Some(name) = config_map::name(&identity) else {
            return Ok(());
        };
        let read = self
            .k
            .client
            .get_config_map(&identity.namespace, &name, self.time());
        match read {
            Ok(found) => self.take_config_map(&name, &found),
            Err(error) if error.recovery() == Recovery::Absent => {
                log::info!("there is no ConfigMap {name}");
                if self.create && !self.k.settings.is_mounted() {
                    self.schedule.want(Step::CreateConfigMap, Instant::now());
                } else {
                    self.create = false;
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take_config_map(&mut self, name: &str, found: &ConfigMap) {
        self.create = false;
        let text = config_map::cim_json(found);
        if text.is_none() {
            log::warn!("the ConfigMap {name} has no cim.json");
        }
        let text = text.map(str::as_bytes);
        self.put_config_map(name, text, config_map::revision(found));
    }

    fn put_config_map(&self, name: &str, text: Option<&[u8]>, revision: &str) {
        let what = format!("settings of the ConfigMap {name}");
        let (settings, own_log) = (&self.k.settings, &self.k.own_log);
        let taken = take_effect(settings, own_log, &what, Told::Values, |store| {
            store.put_config_map(text, revision)
        });
        if let Err(error) = taken {
            log::error!("{what} refused: {error}");
        }
        (self.k.changed)();
    }

    fn create_config_map(&mut self) -> Result<(), Failure> {
        let identity = self.k.identity.load();
        let text = config_map::cim_json_text(&self.k.settings.document().raw);
        let names = config_map::name(&identity).zip(config_map::object(&identity, &text));
        let Some((name, object)) = names.filter(|_| !self.k.settings.is_mounted()) else {
            self.create = false;
            return Ok(());
        };
        let client = &self.k.client;
        let made = client.create_config_map(&identity.namespace, &object, self.time());
        match made {
            Ok(Created::New) => {
                log::info!("ConfigMap {name} made");
                self.create = false;
                let revision = config_map::FIRST_REVISION;
                self.put_config_map(&name, Some(text.as_bytes()), revision);
            }
            // Another pod of this service was faster: what is there counts.
            Ok(Created::Existed) => {
                self.create = false;
                self.schedule.want(Step::ConfigMap, Instant::now());
            }
            Err(error) if error.recovery() == Recovery::Never => {
                log::error!("no ConfigMap is made: {error}");
                self.create = false;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn learn_cluster_role(&mut self) -> Result<(), Failure> {
        let mut identity = Identity::clone(&self.k.identity.load());
        let Some(name) = identity.cluster_role() else {
            return Ok(());
        };
        let read = self.k.client.get_cluster_role(&name, self.time());
        let found = read.map_err(Failure::from).and_then(|role| {
            let what = format!("annotation topo-gw.fqdn of the cluster role {name}");
            let text = role.annotations.get("topo-gw.fqdn").map(String::as_str);
            let address = topogw_fqdn(&what, text.unwrap_or_default());
            let missing = || Failure::slow(format!("the {what} is missing"));
            address.map_err(Failure::slow)?.ok_or_else(missing)
        });
        match found {
            Ok(address) => {
                log::info!("TMaaS is at {address}");
                identity.topogw_fqdn = Some(address);
                self.k.identity.store(identity);
                (self.k.changed)();
                self.want_common_infra();
                Ok(())
            }
            // With a common-infra.json at hand, TMaaS's address is only for the answer to a registration, which has a default.
            Err(failure)
                if failure.recovery != Recovery::Again && !self.k.settings.lacks_infra() =>
            {
                log::info!("{}; the default address of TMaaS is used", failure.text);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    fn learn_common_infra(&mut self) -> Result<(), Failure> {
        let identity = self.k.identity.load();
        // A file may have come meanwhile.
        let Some(address) = identity
            .topogw_fqdn
            .as_ref()
            .filter(|_| self.k.settings.lacks_infra())
        else {
            return Ok(());
        };
        let again = |text: String| Failure {
            text,
            recovery: Recovery::Again,
        };
        let text = self.k.tmaas.common_infra(address, self.time());
        let text = text.map_err(|error| again(error.to_string()))?;
        let what = format!("common-infra.json from TMaaS at {address}");
        let (settings, own_log) = (&self.k.settings, &self.k.own_log);
        take_effect(settings, own_log, &what, Told::Values, |store| {
            store.put_infra(&text)
        })
        .map_err(|error| again(format!("{what} refused: {error}")))?;
        (self.k.changed)();
        Ok(())
    }
}

/// Why a step failed, as text, and what to do about it.
struct Failure {
    text: String,
    recovery: Recovery,
}

impl Failure {
    fn slow(text: String) -> Self {
        Self {
            text,
            recovery: Recovery::Slowly,
        }
    }
}

impl From<KubeError> for Failure {
    fn from(error: KubeError) -> Self {
        Self {
            recovery: error.recovery(),
            text: error.to_string(),
        }
    }
}
