//! Every bound that CIM keeps, with its unit and its reason. Bounds that an operator may want to move are the defaults
//! of a setting (README, table of settings); the rest are constants.

use std::time::Duration;

/// Bytes of one NATS control line without its CR LF. nats-server: 4096.
pub const CONTROL_LINE_BYTES: usize = 4096;
/// Bytes of one NATS payload, headers included. nats-server: 1 MiB; the original announces the same.
pub const PAYLOAD_BYTES: usize = 1 << 20;
/// NATS connections at one time. nats-server: 65,536; a pod has a handful of clients, and each may hold buffers.
pub const CONNECTIONS: usize = 1024;
/// Bytes that may wait for one NATS client before it is cut off as a slow consumer. nats-server: 64 MiB; a sidecar has less.
pub const CLIENT_PENDING_BYTES: usize = 8 << 20;
/// Bytes that may wait for all NATS clients together: the part of the memory budget that slow subscribers can take.
pub const ALL_PENDING_BYTES: usize = 16 << 20;
/// Bytes of half-received messages over all NATS connections: what clients that stop in the middle can take.
pub const ALL_PARTIAL_BYTES: usize = 8 << 20;
/// Subscriptions of one NATS connection. nats-server: no limit; here the table must be bounded.
pub const CLIENT_SUBSCRIPTIONS: usize = 4096;
/// Subscriptions of all NATS connections together.
pub const ALL_SUBSCRIPTIONS: usize = 65_536;
/// Bytes of the subjects and queue names of all subscriptions together.
pub const ALL_SUBSCRIPTION_BYTES: usize = 4 << 20;
/// Time between two PINGs to an idle NATS client. nats-server: 2 minutes.
pub const PING_INTERVAL: Duration = Duration::from_secs(120);
/// PINGs without an answer before a NATS client counts as gone. nats-server: 2.
pub const PINGS_OUTSTANDING: u32 = 2;
/// Time a new NATS connection has for its CONNECT when authentication is on. nats-server: 2 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time a NATS client may take no byte of what waits for it. nats-server: 10 s.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of one read from a NATS connection, and of one batch of the data path.
/// Large enough that a wake-up is spread over some 200 lines of 256 bytes, small enough to stay in the L2 cache.
pub const READ_BLOCK_BYTES: usize = 64 << 10;
const _: () = assert!(
    READ_BLOCK_BYTES >= 2 * CONTROL_LINE_BYTES,
    "a control line and more must fit one read"
);
/// Read blocks that are kept for reuse. More than are in flight in the steady state would only be memory.
pub const READ_BLOCKS_KEPT: usize = 16;
/// Time between two reads of a connection that publishes a stream: reads then come in bulk.
pub const READ_COALESCE: Duration = Duration::from_micros(2000);

/// LOG batches between `nats_server` and `nats_subscriptions` (each at most [`READ_BLOCK_BYTES`], or one payload).
pub const LOG_BATCHES: usize = 16;
/// Bytes of the batches on their way through the data path beyond which LOG has no room. All channels full of blocks are
/// 6 MiB; full of payloads of 1 MiB they would be 48, more than CIM may take.
pub const LOG_BYTES: usize = 8 << 20;
const _: () = assert!(
    LOG_BYTES >= (LOG_BATCHES + 2 * LINE_BATCHES) * READ_BLOCK_BYTES,
    "ordinary lines must be bounded by the channels alone"
);
/// EVENT batches between `nats_server` and `nats_subscriptions`, and from there to `journal_writer`.
pub const EVENT_BATCHES: usize = 16;
/// Batches of CONFIG and TEST between `nats_server` and `nats_subscriptions`.
pub const CONTROL_BATCHES: usize = 16;
/// Line batches that wait for a writer (file, stdout).
pub const LINE_BATCHES: usize = 16;
/// Lines of CIM's own log that wait for the pipeline; the next one is dropped and counted.
pub const OWN_LOG_LINES: usize = 1024;
/// Bytes of one line of CIM's own log, line end included; a longer text is cut.
/// Linux writes up to 4096 bytes to a pipe whole or not at all, so such a line is never torn and never blocks half-way.
pub const OWN_LOG_LINE_BYTES: usize = 4096;
/// Lines that one call site of CIM's own log may write at once.
pub const OWN_LOG_BURST: u32 = 20;
/// Time after which a call site that has used up its burst may write one more line.
pub const OWN_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Call sites whose rate is watched one by one; the program has fewer, and the rest would share one.
pub const OWN_LOG_SITES: usize = 1024;
/// Replies (`{"stream":…}`) that may wait for their message to be stored; beyond it their publisher is held back.
pub const ACKS_WAITING: usize = 4096;
/// Bytes of the reply subjects of those acknowledgements, for each stream: one may be as long as a control line.
pub const ACK_BYTES_WAITING: usize = 1 << 20;
/// PINGs of one connection that wait behind different batches; further ones are answered together with the last of them.
/// A client that waits for its PONG has one; 64 times 1024 connections take 1.5 MiB.
pub const PONGS_WAITING: usize = 64;

/// Time a log sink may stand still before its lines take another way (stdout: to the file; the file: counted and dropped).
pub const SINK_STALL: Duration = Duration::from_secs(5);
/// Age at which a line that waits in a file buffer is written although the buffer is not full.
pub const LINE_AGE: Duration = Duration::from_millis(10);
/// Bytes a file buffer may grow to within a batch before it is written.
pub const FILE_BUFFER_BYTES: usize = 256 << 10;
/// Containers with a log file of their own; the names come from the application. Beyond it: the container `%overflow`.
pub const CONTAINERS: usize = 256;
/// Time without a line after which a container's place may be given to a new one.
pub const CONTAINER_IDLE: Duration = Duration::from_secs(3600);
/// Log files open at one time; the least recently used one is closed first.
pub const OPEN_LOG_FILES: usize = 64;
/// Bytes of a container name or id that reach a file name; a longer one is cut and marked with its hash.
/// A container runtime's id has 64 hex digits, a Kubernetes container name at most 63 bytes.
pub const NAME_BYTES: usize = 64;
/// Bytes of the pod's name, and of its namespace, that reach a file name. Kubernetes: 63.
pub const POD_NAME_BYTES: usize = 63;
/// Bytes of a log file's name without `.log`: a file name has 255 on Linux, and a backup's time and extension take 32.
/// When pod and namespace leave less than 2 [`NAME_BYTES`], container name and id share what is left.
pub const STEM_BYTES: usize = 255 - "-2026-11-23T00-25-57.315.log_bkp".len();
/// Bytes of all file buffers together beyond which a buffer's memory is given back as soon as it is written.
pub const ALL_FILE_BUFFER_BYTES: usize = 2 << 20;
/// Line batches that are appended before what is due is written.
pub const BATCHES_A_TURN: usize = LINE_BATCHES;
/// Time between two tries to write a log file while its lines are kept: the first one, doubled up to the last one.
pub const FILE_RETRY_FIRST: Duration = Duration::from_millis(10);
/// See [`FILE_RETRY_FIRST`]. Space that becomes free is then used within a quarter of a second.
pub const FILE_RETRY_LAST: Duration = Duration::from_millis(250);
/// Time between two tries to write a log file whose lines are dropped.
pub const FILE_TRY_AGAIN: Duration = Duration::from_secs(1);
/// Times a log file is made again within one write because somebody removes it.
pub const FILE_REOPENS: u32 = 8;
/// Time between two looks at the age of the backups of all log files of this pod.
pub const BACKUP_SWEEP: Duration = Duration::from_secs(60);
/// Backups that one look at the log directory takes in: the directory is shared with the application, who may fill it.
pub const BACKUPS_LISTED: usize = 8192;
/// Names that are tried for one backup when others have the same millisecond.
pub const BACKUP_NAMES_TRIED: u32 = 1000;
/// Clock steps back up to this long keep backups in order: the next one is named after the newest. Beyond it the clock is believed.
pub const BACKUP_CLOCK_STEP: Duration = Duration::from_secs(24 * 3600);
/// Time without a line after which a log file is closed and its buffer freed.
pub const LOG_FILE_IDLE: Duration = Duration::from_secs(300);
/// Time between two lines of CIM's own log on one matter.
pub const SAY_AGAIN: Duration = Duration::from_secs(10);
/// Bytes of one write to standard output when it is no regular file: PIPE_BUF, so that a pipe with room takes it whole.
pub const STDOUT_WRITE_BYTES: usize = 4096;
/// Bytes of formatted lines that are collected for standard output. A 1 MiB payload may become 6 MiB of JSON.
pub const STDOUT_BLOCK_BYTES: usize = 64 << 10;
/// Time between two looks whether standard output takes lines again.
pub const STDOUT_TRY_AGAIN: Duration = Duration::from_secs(1);

/// Bytes that the lists of one Event may add up to. Entries may share bytes of the buffer, so a buffer of 1 MiB could
/// stand for gigabytes of JSON; a true event has a few hundred bytes.
pub const EVENT_CONTENT_BYTES: usize = 4 * PAYLOAD_BYTES;

/// Bytes of a container's name and id together that `cim emit` takes: beside them a line must fit one payload.
pub const EMIT_NAME_BYTES: usize = 4096;
/// Lines after which `cim emit` waits until they are stored: what it cannot vouch for when the connection is lost.
pub const EMIT_FLUSH_LINES: u64 = 8192;
/// Messages that may wait for the terminal of `cim tail`; what comes while they do is dropped and counted.
pub const TAIL_PENDING_MESSAGES: usize = 4096;
/// Bytes of a message that `cim tail` cannot decode, of which it prints an excerpt.
pub const TAIL_EXCERPT_BYTES: usize = 256;
/// Time between two looks of `cim tail` at whether it is to end.
pub const TAIL_POLL: Duration = Duration::from_millis(200);

/// HTTP connections at one time; when a new one comes, the one that has waited longest in the middle of a request goes.
pub const HTTP_CONNECTIONS: usize = 64;
/// Bytes of an HTTP request line and header together.
pub const HTTP_HEAD_BYTES: usize = 16 << 10;
/// Bytes of an HTTP request body.
pub const HTTP_BODY_BYTES: usize = 256 << 10;
/// Time for one whole HTTP request to arrive, and for its answer to leave.
pub const HTTP_REQUEST_TIME: Duration = Duration::from_secs(10);
/// Time an HTTP connection may be kept open between two requests.
pub const HTTP_IDLE_TIME: Duration = Duration::from_secs(60);

/// Lines of an HTTP header. Ordinary clients send fewer than 20; the table of them is on the stack.
pub const HTTP_HEADERS: usize = 64;
/// Bytes of one read from an HTTP connection.
pub const HTTP_READ_BYTES: usize = 16 << 10;
/// Bytes of half-received requests and half-sent answers over all HTTP connections: what slow clients can take together. The answer
/// with the largest snapshot of aligned metrics is one of them, which is lost when it is not sent.
pub const HTTP_ALL_BYTES: usize = (8 << 20) + SNAPSHOT_BYTES;
const _: () = assert!(
    HTTP_ALL_BYTES >= 4 * (HTTP_BODY_BYTES + HTTP_HEAD_BYTES + HTTP_READ_BYTES),
    "a few requests of the largest size must fit at one time"
);
/// Time after which an HTTP connection in the middle of a request or an answer counts as stuck, and goes first when
/// [`HTTP_CONNECTIONS`] is reached. An honest client on loopback needs milliseconds.
pub const HTTP_STUCK_TIME: Duration = Duration::from_secs(1);
/// Time an HTTP connection is still read after the last answer, so that the answer is not lost to a reset (RFC 9112, 9.6).
pub const HTTP_LINGER_TIME: Duration = Duration::from_secs(1);
/// Time that HTTP answers in progress have once a stop was asked for.
pub const HTTP_STOP_TIME: Duration = Duration::from_secs(1);
/// Time without a further try after a failed accept (no descriptors left): a busy loop would help nobody.
pub const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of the reason that a part of CIM gives for its state; a longer one is cut.
pub const HEALTH_REASON_BYTES: usize = 512;

/// Bytes of cim.json or common-infra.json.
pub const CONFIG_FILE_BYTES: u64 = 1 << 20;
/// JSON values in cim.json or common-infra.json. Each takes some 72 bytes once read: without this bound one file of
/// [`CONFIG_FILE_BYTES`] full of `0,` would take 37 MB.
pub const CONFIG_VALUES: usize = 16_384;
/// Errors, and warnings, that are kept for one document; the others are only counted.
pub const CONFIG_PROBLEMS: usize = 32;
/// Bytes of a bad value that an error shows.
pub const SHOWN_VALUE_BYTES: usize = 64;
/// Bytes of a text in cim.json and common-infra.json, and of each address in a list. A DNS name has 253.
pub const CONFIG_TEXT_BYTES: usize = 512;
/// Addresses in one list (etcd endpoints, Kafka brokers).
pub const CONFIG_ADDRESSES: usize = 64;
/// Bytes of a `CIM_*` setting: a path has at most 4096.
pub const OPTION_BYTES: usize = 4096;
/// Bytes of a file with a password or token.
pub const SECRET_FILE_BYTES: u64 = 4096;
/// Bytes of a name that says who this sidecar is. Kubernetes: 253.
pub const IDENTITY_BYTES: usize = 253;
/// Bytes read from the files in /proc that may name the own container.
pub const PROC_FILE_BYTES: u64 = 64 << 10;

/// Time the data path has to store what was accepted once a stop was asked for. Kubernetes gives 30 s in all.
pub const STOP_TIME: Duration = Duration::from_secs(20);
/// Time in which `nats_server` still reads what clients had sent before the stop.
pub const STOP_READ_TIME: Duration = Duration::from_secs(1);

/// Bytes of a request to the application. A change set in etcd has at most 1.5 MiB, and JSON may write a byte as six.
pub const APP_REQUEST_BYTES: usize = 10 << 20;
/// Bytes that are read of the text of an application's answer; the connection of a longer one is closed.
pub const APP_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of it that a log line shows.
pub const APP_ANSWER_SHOWN_BYTES: usize = 256;
/// Bytes of the head of an application's answer, and of the buffers of its connection.
pub const APP_HEAD_BYTES: usize = 16 << 10;
/// Time in which the application's kernel has to take a connection: it is on the same host. Nothing can interrupt this wait,
/// so it is short; who calls tries again.
pub const APP_CONNECT_TIME: Duration = Duration::from_secs(1);
/// Time in which the text of an answer has to follow its head: the status is the answer, the text is for the log alone.
pub const APP_ANSWER_TEXT_TIME: Duration = Duration::from_secs(1);
/// Time after which an idle connection to the application is not used again. Common servers close theirs after 5 s and more,
/// and a request on a connection that is just being closed may or may not have been handled.
pub const APP_IDLE_TIME: Duration = Duration::from_secs(3);

/// Events of CIM's own that wait for their consumer; the next one is dropped and counted. A burst of change sets raises two each.
pub const OWN_EVENTS: usize = 256;
/// Bytes of a text that an own event carries: an event then fits one line of CIM's own log ([`OWN_LOG_LINE_BYTES`]).
pub const OWN_EVENT_TEXT_BYTES: usize = 1024;

/// Time in which Kubernetes has to say whether the pod is being deleted, once a signal has come.
pub const POD_STATE_TIME: Duration = Duration::from_secs(2);
/// Time in which the application has to answer the request to shut down.
pub const SHUTDOWN_ANSWER_TIME: Duration = Duration::from_secs(10);
/// Time that this request has even when no grace is left: the application hears of its end, and [`GRACE_RESERVE`] holds it.
pub const SHUTDOWN_ANSWER_TIME_LEAST: Duration = Duration::from_secs(1);
/// Part of the grace that is kept for CIM's own end (CONTRACT section 10).
pub const GRACE_RESERVE: Duration = Duration::from_secs(3);
const _: () = assert!(GRACE_RESERVE.as_secs() > SHUTDOWN_ANSWER_TIME_LEAST.as_secs());
/// Grace when nobody says another. Kubernetes: 30 s.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest grace that is believed.
pub const GRACE_LONGEST: Duration = Duration::from_secs(3600);

/// Time to connect to an etcd endpoint, TLS included; the same again for its name.
pub const ETCD_CONNECT_TIME: Duration = Duration::from_secs(2);
/// Time for one call of etcd, and for the first answer of a watch. etcd itself gives a put up after about 5 s.
pub const ETCD_CALL_TIME: Duration = Duration::from_secs(5);
/// Time one watch stream of etcd is used before the next one takes over: a connection that has died without a sign is
/// then known, which with one call that times out must take less than 60 s.
pub const ETCD_STREAM_TIME: Duration = Duration::from_secs(25);
const _: () = assert!(
    ETCD_STREAM_TIME.as_secs() + ETCD_CALL_TIME.as_secs() + 2 * ETCD_CONNECT_TIME.as_secs() < 60,
    "a half-open watch must be known within 60 s"
);
/// Time a connection to etcd is kept open between two calls.
pub const ETCD_IDLE_TIME: Duration = Duration::from_secs(60);
/// Bytes of one answer of etcd, and of one line of a watch. etcd takes requests of up to 1.5 MiB, which base64 makes 2, and
/// breaks larger watch answers up: one key of the largest size always fits. A reader of many keys asks for a few at a time.
pub const ETCD_ANSWER_BYTES: usize = 4 << 20;
/// Keys or events in one answer of etcd. Each takes some 80 bytes once read and may be 3 bytes on the wire (`{},`).
pub const ETCD_ITEMS: usize = 16_384;
/// Bytes that are kept of a text in which etcd says why not.
pub const ETCD_REASON_BYTES: usize = 200;
/// Bytes of each of the two buffers of a connection to etcd, and of one read of a watch.
pub const ETCD_BUFFER_BYTES: usize = 16 << 10;

/// Time for which the addresses of a name are kept: a server that has moved is found again soon after.
pub const RESOLVED_TIME: Duration = Duration::from_secs(10);
/// Names whose addresses are kept for one client.
pub const RESOLVED_NAMES: usize = CONFIG_ADDRESSES;
/// Operations of one JSON Patch. One that sets every member of cim.json has 16.
pub const PATCH_OPERATIONS: usize = 256;
/// Levels of a cim.json after a patch: what is written must be readable again, and JSON is read up to 128.
pub const CONFIG_DEPTH: usize = 120;
/// Bytes of a change set's key. Kubernetes: namespace and label 63, data key 253; the version is an annotation.
pub const CHANGE_SET_KEY_BYTES: usize = 1024;
/// Bytes of a key that a log line, an error or the history shows.
pub const SHOWN_KEY_BYTES: usize = 256;
/// Bytes of the memory key's value: a key, of which JSON may write each byte as six, and a few short texts.
pub const MEMORY_BYTES: usize = 8 * CHANGE_SET_KEY_BYTES;
/// Change sets in one page of the prefix, at first: etcd takes 128 puts in one transaction by default. Halved while the
/// answer is too large, doubled while one transaction fills the page.
pub const PREFIX_PAGE: usize = 128;
/// Time between two tries to reach an application that refuses the connection: the first one, doubled up to the last one.
pub const APP_RETRY_FIRST: Duration = Duration::from_millis(200);
/// See [`APP_RETRY_FIRST`].
pub const APP_RETRY_LAST: Duration = Duration::from_secs(5);
/// Time an application may refuse the connection before a change set has failed: that of a restart.
pub const APP_RETRY_TIME: Duration = Duration::from_secs(30);
/// Time for one POST of a change set, answer included. The original: 10 s.
pub const UPDATE_CONFIG_TIME: Duration = Duration::from_secs(10);
/// Time the application has for its answer on CONFIG once it has accepted a change set: default of a setting.
pub const CONFIG_REPLY_TIME: Duration = Duration::from_secs(60);
/// The longest that the setting may ask for.
pub const CONFIG_REPLY_TIME_MAX: Duration = Duration::from_secs(120);
/// Time after which CMaaS's lease on a change set ends, and with it CMaaS's patience.
pub const CHANGE_SET_LEASE: Duration = Duration::from_secs(180);
const _: () = assert!(
    (APP_RETRY_TIME.as_secs() + UPDATE_CONFIG_TIME.as_secs() + CONFIG_REPLY_TIME.as_secs()) * 3
        <= CHANGE_SET_LEASE.as_secs() * 2
        && APP_RETRY_TIME.as_secs()
            + UPDATE_CONFIG_TIME.as_secs()
            + CONFIG_REPLY_TIME_MAX.as_secs()
            < CHANGE_SET_LEASE.as_secs(),
    "the slowest delivery must be committed well before CMaaS looks at the commit keys"
);
/// Time between two tries of a commit that etcd does not take: the first one, doubled up to the last one.
pub const COMMIT_RETRY_FIRST: Duration = Duration::from_millis(100);
/// See [`COMMIT_RETRY_FIRST`].
pub const COMMIT_RETRY_LAST: Duration = Duration::from_secs(5);
/// Time etcd may refuse a commit before a newer change set that waits supersedes it.
pub const COMMIT_REFUSED_TIME: Duration = Duration::from_secs(30);
/// Time between two reads of the first configuration while it is not there.
pub const DAY_ONE_POLL: Duration = Duration::from_secs(1);
/// Time between two reads of the first configuration that fail: [`DAY_ONE_POLL`] at first, doubled up to this.
pub const DAY_ONE_RETRY_LAST: Duration = Duration::from_secs(10);
/// Time an application that asked for its first configuration may refuse the connection: it may not listen yet.
pub const LOAD_RETRY_TIME: Duration = Duration::from_secs(10);
/// Bytes of the remarks in an answer on CONFIG that are kept for the log.
pub const REMARKS_BYTES: usize = 256;
/// Change sets that the history remembers.
pub const HISTORY: usize = 100;
/// Bytes of a pod annotation that CIM reads. Those that it knows have some 200; Kubernetes: 256 KiB for all together.
pub const IDENTITY_ANNOTATION_BYTES: usize = 16 << 10;

/// Time for one call to the Kubernetes API, its answer included. A server that has lost its etcd answers after a minute.
pub const KUBE_CALL_TIME: Duration = Duration::from_secs(5);
/// Time for a TCP connection to the API server or to TMaaS, and for the look-up of a name. Nothing cuts these short when CIM
/// stops. A pod is one network hop away; a lost packet is the next try's matter.
pub const KUBE_CONNECT_TIME: Duration = Duration::from_secs(1);
/// Bytes of one answer of the Kubernetes API. An object in etcd has at most 1.5 MiB.
pub const KUBE_ANSWER_BYTES: u64 = 4 << 20;
/// Bytes of ureq's buffers, each way: answers are a few KiB.
pub const KUBE_BUFFER_BYTES: usize = 16 << 10;
/// Bytes of the service account's token. A projected one has some 1.2 KiB.
pub const KUBE_TOKEN_BYTES: u64 = 16 << 10;
/// Bytes of the service account's ca.crt: room for some hundred certificates.
pub const KUBE_CA_BYTES: u64 = 256 << 10;
/// Pods that one page of a list may have: 50 of 20 KiB are 1 MiB.
pub const KUBE_PAGE_PODS: usize = 50;
/// Pages that a list is read up to. What CIM lists is one daemon set's pods, of one node where a selector says so.
pub const KUBE_PAGES: usize = 20;
/// Bytes of what the API server says about a failure that are shown.
pub const KUBE_MESSAGE_BYTES: usize = 256;
/// The longest `Retry-After` of the API server that is believed.
pub const KUBE_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Time between two tries of one call to Kubernetes: the first one, doubled up to [`KUBE_RETRY_LAST`].
pub const KUBE_RETRY_FIRST: Duration = Duration::from_millis(500);
/// See [`KUBE_RETRY_FIRST`].
pub const KUBE_RETRY_LAST: Duration = Duration::from_secs(30);
/// Time between two tries when somebody has to change something first (a right, an object), and of TMaaS in the end.
pub const KUBE_RETRY_SLOW: Duration = Duration::from_secs(60);
/// Time between two tries of TMaaS at first (the original: one a second).
pub const TMAAS_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Time that the answer to a registration waits for Kubernetes: for who the pod is, and for the ConfigMap.
pub const REGISTRATION_WAIT: Duration = Duration::from_secs(5);
const _: () = assert!(
    REGISTRATION_WAIT.as_secs() < HTTP_REQUEST_TIME.as_secs(),
    "the registration is answered before its connection is given up"
);
/// Commands that wait for `kubernetes`. One that finds no room is refused at once.
pub const KUBE_COMMANDS: usize = 8;
/// Registrations whose answers wait: all that the operations API has connections for.
pub const REGISTRATIONS_WAITING: usize = HTTP_CONNECTIONS;
/// Registrations whose answers wait for one ConfigMap: all that the operations API has connections for.
pub const CONFIG_MAP_WAITERS: usize = HTTP_CONNECTIONS;

/// Tries to read the ConfigMap before CIM goes on without its revision.
pub const KUBE_SETTLING_TRIES: u32 = 3;
/// Pause after the first failed try to reach etcd.
pub const ETCD_RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries to reach etcd: it is found again within seconds, by many sidecars without a rush.
pub const ETCD_RETRY_LAST: Duration = Duration::from_secs(5);

/// Change sets between the watch and the delivery, each of at most 1.5 MiB: one in flight and a few to keep it busy. What is
/// more stays in etcd.
pub const CHANGE_SETS: usize = 4;
/// Answers of the application on CONFIG that wait while a call is under way, each of at most a key and its remarks. One change set
/// is in flight, so one answer is due.
pub const CONFIG_ANSWERS: usize = 64;
/// Events of the application that CIM acts upon, waiting while a call is under way.
pub const APP_SIGNALS: usize = 16;
/// Time in which a pending commit is finished once nothing more can come.
pub const CONFIG_STOP_TIME: Duration = Duration::from_secs(2);
/// Time for the deletion of the own pod at the end.
pub const DELETE_POD_TIME: Duration = Duration::from_secs(5);
/// Time between two tries of the puts at subscription time when etcd refuses them: somebody has to give CIM the right first.
pub const SUBSCRIPTION_REFUSED_RETRY: Duration = Duration::from_secs(60);

/// Size of the journal of events, in MiB. At the least a few segments, at the most what a pod's volume may hold.
pub const JOURNAL_MB: std::ops::RangeInclusive<u64> = 8..=65_536;
/// 256 MiB hold some 800,000 events of 300 bytes: two and a half hours of 100 a second.
pub const JOURNAL_MB_DEFAULT: u64 = 256;

/// Bytes of the JSON of one event, on its way to Kafka or to the file. A true one has a few hundred; Kafka takes 1 MB unless its
/// owner says otherwise, and a buffer of 1 MiB whose entries share bytes could stand for 25 MiB.
pub const EVENT_JSON_BYTES: usize = 4 << 20;
/// How far an event's time may lie ahead of the time at which it was stored to become its record's time. Kafka 4 refuses a record
/// from more than an hour ahead; clocks differ.
pub const EVENT_TIME_AHEAD: Duration = Duration::from_secs(30 * 60);
/// Events that are on their way to Kafka: at 50,000 a second and 20 ms to the acknowledgement 1,000 are. Each takes some 200 bytes in
/// librdkafka besides its own.
pub const EVENTS_IN_FLIGHT: usize = 4096;
/// Bytes of their JSON: the part of the memory budget that they may take.
pub const EVENT_BYTES_IN_FLIGHT: usize = 4 << 20;
/// Time that a record may wait for others of its batch. librdkafka: 5 ms.
pub const KAFKA_LINGER: Duration = Duration::from_millis(5);
/// Bytes of one batch, at first. librdkafka: 1,000,000, just below what brokers take. Halved, down to [`KAFKA_BATCH_BYTES_LEAST`],
/// when a broker refuses batches whose records it takes one by one.
pub const KAFKA_BATCH_BYTES: usize = 1_000_000;
/// See [`KAFKA_BATCH_BYTES`].
pub const KAFKA_BATCH_BYTES_LEAST: usize = 4096;
/// Time in which a broker has to answer before its connection counts as dead. librdkafka: 60 s.
pub const KAFKA_ANSWER_TIME: Duration = Duration::from_secs(30);
/// Time in which the replicas have to have a batch; the leader says when they do not.
pub const KAFKA_ACK_TIME: Duration = Duration::from_secs(20);
const _: () = assert!(KAFKA_ACK_TIME.as_secs() < KAFKA_ANSWER_TIME.as_secs());
/// Time for one connection to a broker, TLS and login included. librdkafka: 30 s.
pub const KAFKA_CONNECT_TIME: Duration = Duration::from_secs(10);
/// The longest time between two tries to connect to a broker.
pub const KAFKA_RECONNECT_LAST: Duration = Duration::from_secs(5);
/// Bytes of a text of librdkafka that are shown.
pub const KAFKA_TEXT_BYTES: usize = 512;
/// Time of one wait for delivery reports: rdkafka waits it to the end. The first one, doubled up to [`KAFKA_POLL_LAST`].
pub const KAFKA_POLL_FIRST: Duration = Duration::from_millis(1);
/// See [`KAFKA_POLL_FIRST`].
pub const KAFKA_POLL_LAST: Duration = Duration::from_millis(20);
/// Looks at librdkafka's queue in one turn; each may bring the reports of a whole batch.
pub const KAFKA_POLLS_A_TURN: usize = 256;

/// Time for a TCP connection to one address of a log collector. It is one network hop away; a lost packet is the next try's matter.
pub const TCP_CONNECT_TIME: Duration = Duration::from_secs(1);
/// Time for the look-up of a log collector's name and the connection to one of its addresses, all tries together.
pub const TCP_FIND_TIME: Duration = Duration::from_secs(3);
/// Bytes of formatted lines that wait for the socket of a log collector; a line begun below it is taken whole.
pub const TCP_WAITING_BYTES: usize = 256 << 10;
/// Bytes that the kernel is asked to hold of them at most (it takes twice as much, for its own needs). They are in limbo when the
/// connection breaks, so they are few; 128 KiB at a round trip of 1 ms are 128 MB/s.
pub const TCP_KERNEL_BYTES: usize = 128 << 10;
/// Lines of one chunk that arrive together are counted together up to this many bytes, so that short lines need little memory.
pub const TCP_MARK_BYTES: u64 = 1 << 10;
/// Such groups that wait for their acknowledgement: 192 KiB of memory.
pub const TCP_MARKS: usize = 8192;
const _: () = assert!(
    TCP_MARKS as u64 * TCP_MARK_BYTES >= 8 * (TCP_WAITING_BYTES + TCP_KERNEL_BYTES) as u64,
    "ordinary chunks must be bounded by bytes alone"
);
/// Time without a byte after which the kernel asks whether a log collector is still there.
pub const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Time between two such questions.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Such questions without an answer after which the connection is broken.
pub const TCP_KEEPALIVE_PROBES: u32 = 3;
/// Time bytes may go without an acknowledgement, or without room at the peer, before the connection is broken.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
const _: () = assert!(
    TCP_USER_TIMEOUT.as_secs() > SINK_STALL.as_secs(),
    "lines have taken another way before a collector that only hiccups is cut off"
);
/// Time between two questions to the kernel for what the peer has acknowledged while nothing else happens: the first one,
/// doubled up to the last one. On loopback an acknowledgement takes some 50 µs, in a cluster less than a millisecond.
pub const TCP_LOOK_FIRST: Duration = Duration::from_micros(200);
/// See [`TCP_LOOK_FIRST`].
pub const TCP_LOOK_LAST: Duration = Duration::from_millis(10);
/// The same where the kernel must be asked through /proc, which lists all sockets each time.
pub const TCP_LOOK_LISTED: Duration = Duration::from_millis(100);
/// Bytes of /proc/self/net/tcp that are read: some 100,000 sockets.
pub const TCP_LISTED_BYTES: u64 = 16 << 20;
/// Bytes of what a log collector sends that are read, and thrown away, in one go.
pub const TCP_DISCARDED_BYTES: usize = 64 << 10;

/// Time without an arrival, though something should have arrived, after which an outage of Kafka is told.
pub const KAFKA_OUTAGE: Duration = Duration::from_secs(5);
/// Time between two questions to the brokers while nobody knows whether there is one and nothing is to be sent.
pub const KAFKA_PROBE_PAUSE: Duration = Duration::from_secs(10);
/// Time after which the first one comes.
pub const KAFKA_FIRST_PROBE: Duration = Duration::from_secs(1);
/// Time for the answer to such a question. Nothing else is done meanwhile.
pub const KAFKA_PROBE_TIME: Duration = Duration::from_millis(500);
/// Time without an arrival after which the producer is replaced if a broker answers a question. Doubled after each replacement, up to
/// [`PRODUCER_STALL_LAST`]: a partition without a leader is not the producer's fault.
pub const PRODUCER_STALL: Duration = Duration::from_secs(60);
/// See [`PRODUCER_STALL`].
pub const PRODUCER_STALL_LAST: Duration = Duration::from_secs(600);
const _: () = assert!(
    PRODUCER_STALL.as_secs() > KAFKA_ANSWER_TIME.as_secs() + KAFKA_CONNECT_TIME.as_secs(),
    "librdkafka gives a dead connection up by itself first"
);
/// Time in which the last reports of a producer that is replaced may come: each that does saves a double.
pub const KAFKA_LAST_REPORTS: Duration = Duration::from_millis(100);
/// Time between two tries to make a producer, or to send what Kafka does not take now: the first one, doubled up to
/// [`KAFKA_RETRY_LAST`].
pub const KAFKA_RETRY_FIRST: Duration = Duration::from_millis(200);
/// See [`KAFKA_RETRY_FIRST`].
pub const KAFKA_RETRY_LAST: Duration = Duration::from_secs(10);
/// Time for which a record alone is tried that a broker refuses without saying whether the record is at fault.
pub const KAFKA_UNCLEAR_TIME: Duration = Duration::from_secs(300);
/// Events that are read and sent before the reports are looked at again.
pub const EVENTS_A_TURN: usize = 256;
/// Bytes of events that are collected for one write to their file.
pub const EVENT_FILE_BYTES: usize = 256 << 10;
/// Time between two looks of the event sender at what it depends on while nothing comes.
pub const EVENT_SENDER_LOOK: Duration = Duration::from_secs(1);
/// Time between two looks whether Kubernetes has said who this pod is: only at the start.
pub const EVENT_SENDER_SETTLING: Duration = Duration::from_millis(100);
/// Looks at the delivery reports, [`KAFKA_POLL_FIRST`] apart, after which the time between two is doubled each time while none comes.
pub const EVENT_REPORT_LOOKS: u32 = 30;
/// The longest time between two looks at the delivery reports while some are due.
pub const EVENT_REPORTS_LAST: Duration = Duration::from_millis(100);

/// Bytes of one segment of the journal: what is freed at one time, and what the start reads to find the journal's end.
pub const JOURNAL_SEGMENT_BYTES: u64 = 4 << 20;
/// Bytes of one record's payload: an event is one NATS payload.
pub const JOURNAL_RECORD_BYTES: usize = PAYLOAD_BYTES;
const _: () = assert!(
    JOURNAL_SEGMENT_BYTES >= JOURNAL_RECORD_BYTES as u64 + 4096,
    "a record of the largest size must fit one segment"
);
const _: () = assert!(
    *JOURNAL_MB.start() << 20 >= 2 * JOURNAL_SEGMENT_BYTES,
    "one segment is written while another waits for its delivery reports"
);
/// Segments that the journal may have. Each takes 32 bytes of memory; the largest journal has 16,384 full ones.
pub const JOURNAL_SEGMENTS: usize = 32_768;
/// Bytes of appended records that wait for their commit; beyond them they are written at once.
pub const JOURNAL_BUFFER_BYTES: usize = 256 << 10;
/// Bytes of one read of the journal.
pub const JOURNAL_READ_BYTES: usize = 64 << 10;
/// Bytes that are checked in vain in one segment to find the next good record behind a bad one; then the rest is given up.
pub const JOURNAL_SEARCH_BYTES: u64 = 64 << 20;
/// Places that are remembered between the oldest record in flight and the newest, so that the stored position is near the former.
pub const JOURNAL_MARKS: usize = 1024;
/// Bytes between two of those places: what is read again, and passed over, after a restart.
pub const JOURNAL_MARK_BYTES: u64 = 64 << 10;
/// Time between two syncs of the journal when it is synced at intervals.
pub const JOURNAL_SYNC: Duration = Duration::from_secs(1);
/// Bytes of the file, both generations together, that keeps damaged pieces of the journal.
pub const JOURNAL_DAMAGED_BYTES: u64 = 4 << 20;
/// Bytes that are kept of one damaged piece.
pub const JOURNAL_DAMAGED_PIECE_BYTES: usize = 64 << 10;
/// Tries to become the journal's owner. A CIM that was killed needs a moment to end, and `cim journal` looks for an instant.
pub const JOURNAL_OWNER_TRIES: u32 = 10;
/// Time between two of those tries.
pub const JOURNAL_OWNER_PAUSE: Duration = Duration::from_millis(20);
/// Failed reads of one segment, each with its caller's pause, after which it counts as bad: the medium does not give it back.
pub const JOURNAL_READ_TRIES: u32 = 10;
/// Event batches between `nats_subscriptions` and `journal_writer`.
pub const JOURNAL_BATCHES: usize = 16;
/// Time between two tries to write the journal: the first one, doubled up to the last one.
pub const JOURNAL_RETRY_FIRST: Duration = Duration::from_millis(20);
/// See [`JOURNAL_RETRY_FIRST`].
pub const JOURNAL_RETRY_LAST: Duration = Duration::from_secs(1);
/// Time after which room in the journal is looked for unasked, should a segment not have been removable.
pub const JOURNAL_ROOM_POLL: Duration = Duration::from_secs(1);
/// Time that events have to be stored once a stop was asked for, when the journal is full or its disk fails.
pub const JOURNAL_STOP_TIME: Duration = Duration::from_secs(3);
const _: () = assert!(JOURNAL_STOP_TIME.as_secs() < STOP_TIME.as_secs());
/// Bytes of a payload that is set aside; the rest of a longer one is cut off.
pub const SET_ASIDE_PAYLOAD_BYTES: usize = 1 << 20;
/// Records that `cim journal show` prints when no number is given.
pub const JOURNAL_SHOWN: u64 = 100;
/// Damaged places that `cim journal verify` names; the others are counted.
pub const JOURNAL_SHOWN_DAMAGE: usize = 100;

/// Containers with a backlog of log lines at one time. More than [`CONTAINERS`]: those of earlier runs are among them.
pub const BACKLOG_CONTAINERS: usize = 2 * CONTAINERS;
/// Pieces of files that the backlog of one container may have: `max_backup_files` is at most 20, and a file may have a few.
/// Beyond it the oldest is not sent any more.
pub const BACKLOG_PIECES: usize = 32;
/// Bytes of a mark. Name and id of a container come in one payload, and base64 makes 3 bytes 4.
pub const BACKLOG_MARK_BYTES: u64 = 4 << 20;
const _: () = assert!(BACKLOG_MARK_BYTES >= 2 * PAYLOAD_BYTES as u64);
/// Bytes of the list of lines of one file that hold line ends: some 200,000, as many stack traces as 50 MB can be.
/// Further ones are sent as several lines.
pub const BACKLOG_WHOLE_BYTES: u64 = 4 << 20;
/// Entries of that list that are read at one time: 64 KiB.
pub const BACKLOG_WHOLE_READ: usize = 3276;
/// Bytes that are read of a backlog at one time, and of one chunk unless a line is longer.
pub const BACKLOG_CHUNK_BYTES: usize = 256 << 10;
/// Lines of one chunk.
pub const BACKLOG_CHUNK_LINES: usize = 8192;
/// Time between two writes of what is delivered of a backlog: what may be sent twice after kill -9.
pub const BACKLOG_STORE_INTERVAL: Duration = Duration::from_millis(100);
/// Points in time that are kept of one file of a backlog: how old the oldest line is.
pub const BACKLOG_TIMES: usize = 32;
/// Pieces of forgotten backlogs whose lines are still to be counted.
pub const BACKLOG_UNCOUNTED: usize = 4096;

/// Bytes of log lines in flight to a remote sink, as they were read. Kafka on the same machine acknowledges within some 20 ms: 200 MB/s.
pub const REMOTE_WINDOW_BYTES: usize = 4 << 20;
const _: () = assert!(
    REMOTE_WINDOW_BYTES + LINE_BATCHES * READ_BLOCK_BYTES <= LOG_BYTES,
    "a sink that stands still must not use up what all sinks share"
);
/// Bytes of log lines from the files in flight to a remote sink.
pub const REPLAY_WINDOW_BYTES: usize = 1 << 20;
/// Bytes of log lines that are read from a file at one time, if it is more than one line.
pub const REPLAY_CHUNK_BYTES: usize = 256 << 10;
/// Time that lines from the files have to arrive when CIM stops; then they are sent again by the next run.
pub const REPLAY_STOP_TIME: Duration = Duration::from_secs(1);
/// Bytes left in the files at which nothing further is written behind them for a while, so that the sink catches up.
pub const CATCH_UP_BYTES: u64 = 256 << 10;
/// Time that publishers are held back for it at the most: they must not notice a sink that is slow.
pub const CATCH_UP_HOLD: Duration = Duration::from_secs(2);
/// Time before they may be held back again.
pub const CATCH_UP_PAUSE: Duration = Duration::from_secs(10);
/// Pause after the first failed try to reach a remote sink.
pub const REMOTE_RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between two tries to reach a remote sink.
pub const REMOTE_RETRY_LAST: Duration = Duration::from_secs(30);
/// Time that a remote sink has to work before its next failure counts as the first one again.
pub const REMOTE_STEADY: Duration = Duration::from_secs(30);

/// Log lines that are on their way to Kafka: at 400,000 a second and 50 ms to the acknowledgement 20,000 are. Each takes some 200 bytes
/// in librdkafka besides its own.
pub const KAFKA_LOGS_IN_FLIGHT: usize = 40_000;
/// Bytes of their records: the part of the memory budget that they may take.
pub const KAFKA_LOG_BYTES_IN_FLIGHT: usize = 8 << 20;
/// Time in which a broker has to say how many partitions the topic has.
pub const KAFKA_TOPIC_TIME: Duration = Duration::from_secs(5);

/// Time that Kubernetes has to tell of the log collector on the own node.
pub const LOCAL_COLLECTOR_TIME: Duration = Duration::from_secs(3);

/// Time in which events that are in the journal at the end may still be delivered; the rest waits there for the next start.
pub const EVENTS_STOP_TIME: Duration = Duration::from_secs(3);
/// Bytes of the records that are set aside, in both generations of their file.
pub const SET_ASIDE_BYTES: u64 = 8 << 20;

/// Bytes of log lines that are kept after the collector's kernel has acknowledged them: what a kernel may hold unread, some 3 MiB where
/// nobody has changed it.
pub const TCP_TAIL_BYTES: usize = 4 << 20;
/// Time that they are kept: a collector that has not read them by then lets others wait for longer than [`SINK_STALL`].
pub const TCP_TAIL_TIME: Duration = Duration::from_secs(10);

/// Messages on EVENT that are no events and are set aside within [`SAY_AGAIN`]; the others are only counted.
pub const MALFORMED_KEPT: u32 = 16;
/// Bytes of one of them that are kept.
pub const MALFORMED_KEPT_BYTES: usize = 64 << 10;

/// Messages on EVENT-NOTIFICATION that are on their way to the application's socket.
pub const NOTIFICATIONS: usize = 1024;
/// Bytes of them, if it is more than one: far below [`CLIENT_PENDING_BYTES`], so that no subscriber is cut off for them alone.
pub const NOTIFICATION_BYTES: usize = 1 << 20;

/// Reply subjects of requests that one NATS client may answer at one time (`allow_responses`). nats-server: 4096.
pub const ANSWERS_ALLOWED: usize = 4096;
/// Connections of NATS clients that `/connz?state=closed` still tells of. nats-server: 10000.
pub const CLOSED_CONNECTIONS: usize = 64;
/// Bytes of the subscriptions of each that are kept.
pub const CLOSED_CONNECTION_BYTES: usize = 4096;
/// Questions on monitoring pages that wait for the NATS server's thread.
pub const MONITOR_QUESTIONS: usize = 4;

/// Event subscriptions at one time. An application has a handful; each is looked at for each record by bit.
pub const SUBSCRIPTIONS: usize = 256;
/// Values of one field of an event subscription.
pub const SUBSCRIPTION_VALUES: usize = 64;
/// Bytes of one value: names of events and network functions are far shorter.
pub const SUBSCRIPTION_VALUE_BYTES: usize = 256;
/// Bytes of all values of all event subscriptions: 1 KiB for each.
pub const SUBSCRIPTIONS_BYTES: usize = 256 << 10;
/// Bytes of the file of the event subscriptions. JSON may need 6 bytes for one; the rest is room for the position in 30,000 partitions.
pub const SUBSCRIPTIONS_FILE_BYTES: u64 = 4 << 20;
const _: () = assert!(
    SUBSCRIPTIONS_FILE_BYTES as usize
        >= 6 * SUBSCRIPTIONS_BYTES
            + SUBSCRIPTIONS * (4 * SUBSCRIPTION_VALUES * 3 + 256)
            + (1 << 20),
    "what is accepted can be stored"
);
/// Changes of the event subscriptions on their way to the consumer: a connection waits for one answer.
pub const SUBSCRIPTION_CHANGES: usize = HTTP_CONNECTIONS;

/// Bytes of records of FMAASEVENTS that are read ahead; a fetch may go beyond it by what it brings.
pub const KAFKA_CONSUMER_BYTES: usize = 2 << 20;
/// Records that are read ahead before the next fetch waits: each takes some 300 bytes in librdkafka besides its own.
pub const KAFKA_CONSUMER_RECORDS: usize = 1000;
/// Time between two looks whether the next fetch has to wait any longer. librdkafka: 1 s, in which nothing comes.
pub const KAFKA_CONSUMER_FULL_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of one fetch, if it is more than one record. Not below librdkafka's `message.max.bytes`, which it insists upon.
pub const KAFKA_FETCH_BYTES: usize = 1 << 20;
/// Bytes of one partition in it, if it is more than one record.
pub const KAFKA_FETCH_PARTITION_BYTES: usize = 256 << 10;
const _: () = assert!(KAFKA_FETCH_BYTES <= KAFKA_CONSUMER_BYTES);
/// Time between two questions which partitions FMAASEVENTS has, and whether it is there.
pub const KAFKA_CONSUMER_REFRESH: Duration = Duration::from_secs(10);
/// Time for the answer to one question of the consumer, which nothing is done for meanwhile.
pub const KAFKA_CONSUMER_ASK: Duration = Duration::from_secs(1);
/// Time for all questions that come before partitions are begun.
pub const KAFKA_ASSIGN_TIME: Duration = Duration::from_secs(2);
/// Time for which brokers have to say that FMAASEVENTS is not there before that is believed.
pub const KAFKA_NO_TOPIC_TIME: Duration = Duration::from_millis(300);
/// Time between two commits of what is delivered: what may come twice after kill -9.
pub const KAFKA_COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// Time without a further commit after which it is asked whether the last one has worked.
pub const KAFKA_COMMIT_CHECK: Duration = Duration::from_secs(2);
/// Consumers that were given up and whose threads have not ended: beyond them the next one is waited for.
pub const KAFKA_CONSUMERS_CLOSING: usize = 4;
/// Time for which the consumer simply waits when a record finds no room, before it tells Kafka to send no more.
pub const KAFKA_HOLD_TIME: Duration = Duration::from_millis(500);
/// Records that are looked at before what else has happened is.
pub const KAFKA_RECORDS_A_TURN: usize = 256;
/// Time that notifications on their way have to be delivered, and their offsets to be committed, when the consumer stops; the rest
/// comes again.
pub const KAFKA_CONSUMER_STOP_TIME: Duration = Duration::from_secs(2);
/// The same when partitions go to another consumer of the group, which waits for it.
pub const KAFKA_REVOKE_TIME: Duration = Duration::from_secs(1);
/// Pause before a consumer that has failed is replaced: the first one, doubled up to [`KAFKA_CONSUMER_RETRY_LAST`].
pub const KAFKA_CONSUMER_RETRY_FIRST: Duration = Duration::from_secs(1);
/// See [`KAFKA_CONSUMER_RETRY_FIRST`].
pub const KAFKA_CONSUMER_RETRY_LAST: Duration = Duration::from_secs(30);
/// Pause before brokers that did not answer are asked again where an era begins: the first one, doubled up to [`KAFKA_ENDS_RETRY_LAST`].
pub const KAFKA_ENDS_RETRY_FIRST: Duration = Duration::from_millis(100);
/// See [`KAFKA_ENDS_RETRY_FIRST`].
pub const KAFKA_ENDS_RETRY_LAST: Duration = Duration::from_secs(5);
/// Time for which the answer to the first subscription waits until it is known where it begins.
pub const SUBSCRIPTION_ANSWER_TIME: Duration = Duration::from_secs(1);
/// Time between two looks of the consumer at what it depends on, and at what librdkafka has to say, while nothing comes.
pub const KAFKA_CONSUMER_LOOK: Duration = Duration::from_secs(1);

/// Ports of the application that are scraped at aligned times. A pod has a few; each one more is a thread for a moment.
pub const ALIGNED_PORTS: usize = 16;
/// Bytes of the path that is scraped, its query included.
pub const ALIGNED_PATH_BYTES: usize = 1024;
/// The shortest time between two aligned scrapes, in ms: stamps are told apart by whole seconds.
pub const ALIGNED_INTERVAL_FIRST_MS: u64 = 1_000;
/// The longest time between two aligned scrapes, in ms.
pub const ALIGNED_INTERVAL_LAST_MS: u64 = 3_600_000;
/// Bytes of the text of a time span.
pub const ALIGNED_SPAN_BYTES: usize = 64;
/// The longest time between two looks at the clock while scrapes are on: a clock that was set is noticed within it.
pub const ALIGNED_LOOK: Duration = Duration::from_secs(1);
/// Milliseconds after an aligned time within which a scrape still counts as that time's, if it is less than a quarter of the interval.
pub const ALIGNED_LATE_MS: u64 = 1_000;
/// Time for the answer of one port, if the interval is not shorter.
pub const ALIGNED_SCRAPE_TIME: Duration = Duration::from_secs(10);
/// Time for one TCP connection to a port of the own pod: loopback answers at once, and nothing can cut a connection off that is not there yet.
pub const ALIGNED_CONNECT_TIME: Duration = Duration::from_secs(1);
/// Bytes of one port's answer.
pub const ALIGNED_BODY_BYTES: usize = 4 << 20;
/// Bytes of the answers of all ports that wait to be read, together.
pub const ALIGNED_BODIES_BYTES: usize = 8 << 20;
const _: () = assert!(ALIGNED_BODIES_BYTES >= 2 * ALIGNED_BODY_BYTES);
/// Bytes of an answer that are read at one time.
pub const ALIGNED_READ_BYTES: usize = 16 << 10;
/// Bytes of each of the two buffers of a connection to a port, and of the head of its answer.
pub const ALIGNED_BUFFER_BYTES: usize = 16 << 10;
/// Bytes of the snapshots in one answer, if it is more than one; the others are in the next. Its text is there twice for a moment.
pub const ALIGNED_ANSWER_BYTES: usize = 8 << 20;
/// Snapshots that are kept at most.
pub const ALIGNED_SNAPSHOTS: usize = 1000;

/// Bytes of the text of one scrape. 50,000 series take some 4 MiB.
pub const EXPOSITION_BYTES: usize = 4 << 20;
/// Bytes of one of its lines. A label value that is a stack trace has some 10 KiB.
pub const EXPOSITION_LINE_BYTES: usize = 64 << 10;
/// Bytes of one name of a metric or label. Prometheus: no limit; the longest names in use have some 150.
pub const EXPOSITION_NAME_BYTES: usize = 1024;
/// Labels of one sample. Prometheus: no limit; Mimir: 30.
pub const EXPOSITION_LABELS: usize = 64;
/// Metric families of one scrape, those without a sample too: each takes some 200 bytes besides its text. Kubernetes' API server
/// has some 400.
pub const EXPOSITION_FAMILIES: usize = 10_000;
/// Samples of one snapshot, over all of its ports.
pub const SNAPSHOT_SERIES: usize = 50_000;
/// Bytes that all snapshots together have when they are handed out: the part of the memory budget that they may take. It is
/// taken twice for the moment in which their text is made.
pub const SNAPSHOT_BYTES: usize = 16 << 20;
/// Bytes of a sample's value that are kept as they came; a longer one is written anew. The longest that is needed has 24.
pub const SAMPLE_VALUE_BYTES: usize = 32;
/// Bytes of bad text that an error shows.
pub const EXPOSITION_SNIPPET_BYTES: usize = 32;

/// Bytes of a configuration in nats-server's syntax, with all that it includes and what its variables repeat: thousands of users.
pub const NATS_CONFIG_BYTES: usize = 1 << 20;
/// Values in it, repeated ones too.
pub const NATS_CONFIG_VALUES: usize = 64 << 10;
/// Blocks, arrays and files within each other.
pub const NATS_CONFIG_DEPTH: usize = 32;
/// Files of it.
pub const NATS_CONFIG_FILES: usize = 64;

/// Time that a TLS handshake with a NATS client may take. nats-server: 2 s.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(2);
/// TLS handshakes with NATS clients at one time; further clients wait for their turn. Each may hold 64 KiB, the longest handshake message
/// that rustls takes, and one round of the thread does no more signatures than this: some 30 ms with RSA of 2048 bits.
pub const TLS_HANDSHAKES: usize = 32;
/// Bytes of one TLS record as it is sent at most, header and tag included (RFC 8446 section 5.2): what may wait for its end in each
/// connection.
pub const TLS_RECORD_BYTES: usize = 5 + (16 << 10) + 2048;
const _: () = assert!(
    TLS_RECORD_BYTES + 2 * CONTROL_LINE_BYTES <= READ_BLOCK_BYTES / 2,
    "a block that is half full must have room for what one more read may decrypt to"
);
/// Bytes for one client that are encrypted and not yet sent. They count among those that wait for it until they are.
pub const TLS_WRITE_BYTES: usize = 64 << 10;
/// Reads of one TLS connection in one round when nothing in them is for NATS: handshake messages, parts of a record.
pub const TLS_READS_A_ROUND: u32 = 16;
/// Bytes that are looked at in a certificate's name: one value, or one text in all.
pub const CERTIFICATE_NAME_BYTES: usize = 4096;
/// Names that are taken from a certificate.
pub const CERTIFICATE_NAMES: usize = 64;

/// Bytes of LOG, and of EVENT, from an external NATS server that may wait for room in the data path; what comes then is lost.
pub const EXTERNAL_HELD_BYTES: usize = 16 << 20;
/// From so many on no more is read from the external server, which then keeps it; it may keep still what is under way meanwhile.
pub const EXTERNAL_HOLD_BYTES: usize = 4 << 20;
/// Longest time for which nothing is read from it: after its write deadline (10 s) it would cut CIM off, and EVENT and CONFIG come
/// the same way as LOG.
pub const EXTERNAL_HOLD_TIME: Duration = Duration::from_secs(5);
/// Messages of one subject that may wait between the `nats` crate and thread `nats-client`, which takes them at once; it loses further ones.
pub const EXTERNAL_QUEUE: usize = 64 << 10;
/// Time for a TCP connection to an external NATS server, and for its first words.
pub const EXTERNAL_CONNECT_TIME: Duration = Duration::from_secs(5);
/// Time between two messages to itself by which CIM knows that its connection works.
pub const EXTERNAL_ECHO_INTERVAL: Duration = Duration::from_secs(10);
/// Time after which such a message counts as lost, and the connection with it.
pub const EXTERNAL_ECHO_TIME: Duration = Duration::from_secs(10);
/// First and longest wait between two tries to connect.
pub const EXTERNAL_RETRY: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));
/// Bytes that are published and not yet known to be with the server: few enough that a socket takes them though the server stands still.
pub const EXTERNAL_UNDER_WAY_BYTES: usize = 64 << 10;

/// Time between two looks for the application's NATS connections, with `CIM_END_AFTER_APP`.
pub const PRESENCE_LOOK: Duration = Duration::from_millis(500);
/// Time between two points of the rates on the status page: one wake-up of a thread that else sleeps.
pub const RATE_STEP: Duration = Duration::from_secs(10);
/// Points that are kept: ten minutes.
pub const RATE_POINTS: usize = 60;
/// Lines of CIM's own log of level WARNING and above that the status page shows.
pub const OWN_LOG_KEPT: usize = 50;
/// Bytes of them together; the oldest go first.
pub const OWN_LOG_KEPT_BYTES: usize = 16 << 10;
/// Containers that the status page shows: those whose lines came last.
pub const STATUS_CONTAINERS: usize = 64;
/// Bytes of a container's name or id that it shows. Kubernetes: 63, a container runtime's id 64.
pub const STATUS_NAME_BYTES: usize = 128;
/// NATS connections that it shows.
pub const STATUS_CONNECTIONS: usize = 32;
/// Bytes of the document that `cim status` takes: all of the above, a hundred change sets and every setting have some 100 KiB.
pub const STATUS_BYTES: u64 = 2 << 20;
/// Time for one probe of `cim doctor`, from the start.
pub const DOCTOR_TIME: Duration = Duration::from_secs(12);
/// Time for `cim doctor` to learn from Kubernetes who the pod is: what depends on it has this much more.
pub const DOCTOR_LEARN_TIME: Duration = Duration::from_secs(8);
/// Time for one connection that `cim doctor` makes, and for one answer of etcd.
pub const DOCTOR_CONNECT_TIME: Duration = Duration::from_secs(2);
/// Time for a broker to tell `cim doctor` of its cluster: a name to be found, a TLS handshake, SASL.
pub const DOCTOR_KAFKA_TIME: Duration = Duration::from_secs(6);
const _: () = assert!(
    DOCTOR_KAFKA_TIME.as_secs() + 2 * DOCTOR_CONNECT_TIME.as_secs() < DOCTOR_TIME.as_secs(),
    "a probe that fails in time says why, one that does not only says that"
);
const _: () = assert!(DOCTOR_LEARN_TIME.as_secs() < DOCTOR_TIME.as_secs());
/// Findings of one probe that are told: one for each address of a list, a few besides.
pub const DOCTOR_FINDINGS: usize = 2 * CONFIG_ADDRESSES;
/// Bytes that must be free in a directory for `cim doctor` to find it good: less is full in the next minute.
pub const DOCTOR_FREE_BYTES: u64 = 16 << 20;

/// Bytes of a change set that `cim change-set` puts: etcd takes 1.5 MiB a request (`--max-request-bytes`), in base64 and with its key.
pub const CHANGE_SET_BYTES: usize = 1 << 20;
/// Change sets, and commits, that `cim change-set list` shows.
pub const CHANGE_SETS_LISTED: usize = 1000;
/// Revisions that `cim change-set put` tries when others take them at the same time.
pub const CHANGE_SET_REVISIONS_TRIED: u32 = 8;
/// Bytes of a chunk of what waits for a NATS client: the unit in which memory comes and goes. As much as one write takes at least.
pub const OUTBOUND_CHUNK_BYTES: usize = 64 << 10;
/// Such chunks that are kept for the next bytes: 1 MiB.
pub const OUTBOUND_CHUNKS_KEPT: usize = 16;
/// So many steps there are on the way of a client from nothing that waits for it to being cut off. From the first one on whoever publishes to
/// it waits too, for [`CROWDED_TIME`] and step after each read at most: a burst does not cut off a subscriber that is only a little slower. The
/// second half of [`ALL_PENDING_BYTES`] has as many.
pub const CROWDED_STEPS: u32 = 8;
/// See [`CROWDED_STEPS`]: a subscriber of 8 MiB that takes nothing is cut off after 5 s, and one that takes 1 MB a second is not. nats-server:
/// 10 ms at any step, in the second half of 64 MiB.
pub const CROWDED_TIME: Duration = Duration::from_millis(10);
/// Clients whose first waiting bytes get a whole chunk at once, though they may be few: 2 MiB, whatever the number of clients.
pub const OUTBOUND_CHUNKS_FIRST: usize = 32;
