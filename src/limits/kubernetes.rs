//! Kubernetes, TMaaS, and the registration that waits for them.

use std::time::Duration;

use super::{HTTP_CONNECTIONS, HTTP_REQUEST_TIME};

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
