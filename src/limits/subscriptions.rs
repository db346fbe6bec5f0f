//! Event subscriptions, and the notifications that come of them.

use std::time::Duration;

use super::HTTP_CONNECTIONS;

/// Time between two tries of the puts at subscription time when etcd refuses them: somebody has to give CIM the right first.
pub const SUBSCRIPTION_REFUSED_RETRY: Duration = Duration::from_secs(60);

/// Messages on EVENT-NOTIFICATION that are on their way to the application's socket.
pub const NOTIFICATIONS: usize = 1024;
/// Bytes of them, if it is more than one: far below [`CLIENT_PENDING_BYTES`](super::CLIENT_PENDING_BYTES), so that no subscriber is cut off for them alone.
pub const NOTIFICATION_BYTES: usize = 1 << 20;

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
/// Time for which the answer to the first subscription waits until it is known where it begins.
pub const SUBSCRIPTION_ANSWER_TIME: Duration = Duration::from_secs(1);
