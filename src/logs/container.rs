//! Who a log line belongs to. Names and ids come from the application and are untrusted: they are bounded in number
//! and in length, and none of them reaches the file system as it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::limits;
use crate::logs::board::{Board, Figures};
use crate::logs::format::json_head;
use crate::logs::names::{MARK_BYTES, encode, hash, push_mark, shorten};

/// Container name of the lines that find no place of their own. No encoded name starts like this.
pub const OVERFLOW: &str = "%overflow";

const _: () = assert!(
    limits::STEM_BYTES >= 2 * (limits::POD_NAME_BYTES + 1) + 2 * (MARK_BYTES + 1) + 1 + MARK_BYTES,
    "with the longest pod and namespace, name and id must have room for their hashes"
);

/// One container of the pod, as its lines name it.
#[derive(Debug)]
pub struct Container {
    /// The name as sent.
    pub name: Box<[u8]>,
    /// The id as sent.
    pub id: Box<[u8]>,
    /// Name of its log file without `.log`, safe for the file system, different for each (name, id) in use;
    /// at most [`limits::STEM_BYTES`].
    pub stem: String,
    /// The JSON form of a line up to the log text: `{"container_name":"…","log":"`.
    pub json_head: Box<[u8]>,
    /// What passed of it.
    pub figures: Figures,
}

/// What happened to names since the start, for metrics and for a line in the log when a figure moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// Lines that went to [`OVERFLOW`] because all places were taken.
    pub overflowed: u64,
    /// Containers whose file name was another one's already, and was marked with a hash.
    pub collided: u64,
}

/// The containers whose lines passed by; at most [`limits::CONTAINERS`].
#[derive(Debug)]
pub struct Containers {
    prefix: String,
    places: Vec<Place>,
    index: HashMap<Box<[u8]>, usize>,
    key: Vec<u8>,
    last: usize,
    overflow: Arc<Container>,
    counts: NameCounts,
    limit: usize,
    board: Board,
}

#[derive(Debug)]
struct Place {
    container: Arc<Container>,
    used: Instant,
}

/// The beginning of all log file names of a pod: `<pod>_<ns>_`.
pub fn stem_prefix(pod: &str, ns: &str) -> String {
    let part = |name: &str| {
        shorten(
            encode(name.as_bytes()),
            name.as_bytes(),
            limits::POD_NAME_BYTES,
        )
    };
    format!("{}_{}_", part(pod), part(ns))
}

/// `<prefix><name>-<id>`, leaving room for the mark of a collision.
fn stem(prefix: &str, name: &[u8], id: &[u8]) -> String {
    let room = limits::STEM_BYTES.saturating_sub(MARK_BYTES + prefix.len() + 1);
    let (mut safe_name, mut safe_id) = (encode(name), encode(id));
    if safe_name.len().max(safe_id.len()) > limits::NAME_BYTES
        || safe_name.len() + safe_id.len() > room
    {
        let each = limits::NAME_BYTES.min(room / 2);
        safe_name = shorten(safe_name, name, each);
        safe_id = shorten(safe_id, id, each);
    }
    format!("{prefix}{safe_name}-{safe_id}")
}

impl Container {
    /// The container `name`, `id`, whose log file is called `stem`.
    pub fn new(name: &[u8], id: &[u8], stem: String) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            id: id.into(),
            stem,
            json_head: json_head(name),
            figures: Figures::default(),
        })
    }
}

impl Containers {
    /// For the containers of `pod` in the namespace `ns`.
    pub fn new(pod: &str, ns: &str) -> Self {
        Self::with_limit(pod, ns, limits::CONTAINERS)
    }

    pub(super) fn with_limit(pod: &str, ns: &str, limit: usize) -> Self {
        let prefix = stem_prefix(pod, ns);
        let overflow = Container::new(OVERFLOW.as_bytes(), b"", format!("{prefix}{OVERFLOW}-"));
        Self {
            prefix,
            places: Vec::new(),
            index: HashMap::new(),
            key: Vec::new(),
            last: 0,
            overflow,
            counts: NameCounts::default(),
            limit,
            board: Board::default(),
        }
    }

    /// The container `name`, `id`; the one called [`OVERFLOW`] when all places are taken. `now` may be as old as the
    /// batch. Nothing is allocated for a container that is known, nothing hashed for the same one again.
    pub fn get(&mut self, name: &[u8], id: &[u8], now: Instant) -> Arc<Container> {
        if let Some(place) = self.places.get_mut(self.last)
            && *place.container.name == *name
            && *place.container.id == *id
        {
            place.used = now;
            return Arc::clone(&place.container);
        }
        self.key.clear();
        self.key
            .extend_from_slice(&(name.len() as u64).to_le_bytes());
        self.key.extend_from_slice(name);
        self.key.extend_from_slice(id);
        let known = self.index.get(self.key.as_slice()).copied();
        match known.or_else(|| self.admit(name, id, now)) {
            Some(at) => {
                self.last = at;
                match self.places.get_mut(at) {
                    Some(place) => {
                        place.used = now;
                        Arc::clone(&place.container)
                    }
                    None => Arc::clone(&self.overflow),
                }
            }
            None => {
                if self.counts.overflowed == 0 {
                    self.board.put(self.limit, &self.overflow);
                }
                self.counts.overflowed += 1;
                Arc::clone(&self.overflow)
            }
        }
    }

    /// What happened to names since the start.
    pub fn counts(&self) -> NameCounts {
        self.counts
    }

    /// Shows them to whoever looks.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// The beginning of all file names given out: `<pod>_<ns>_`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Gives `name`, `id` (in `self.key`) a place: a free one, else that of the container idle for longest, if it is idle.
    fn admit(&mut self, name: &[u8], id: &[u8], now: Instant) -> Option<usize> {
        let at = if self.places.len() < self.limit {
            self.places.len()
        } else {
            let (at, place) = self
                .places
                .iter()
                .enumerate()
                .min_by_key(|(_, place)| place.used)?;
            if now.saturating_duration_since(place.used) < limits::CONTAINER_IDLE {
                return None;
            }
            self.index.retain(|_, taken| *taken != at);
            at
        };
        let place = Place {
            container: Container::new(name, id, self.free_stem(name, id, at)),
            used: now,
        };
        self.board.put(at, &place.container);
        match self.places.get_mut(at) {
            Some(old) => *old = place,
            None => self.places.push(place),
        }
        self.index.insert(self.key.as_slice().into(), at);
        Some(at)
    }

    /// The stem of `name`, `id` at place `at`; with a mark when another container has it.
    fn free_stem(&mut self, name: &[u8], id: &[u8], at: usize) -> String {
        let taken = |stem: &String| {
            self.places
                .iter()
                .enumerate()
                .any(|(n, place)| n != at && place.container.stem == *stem)
        };
        let plain = stem(&self.prefix, name, id);
        if !taken(&plain) {
            return plain;
        }
        self.counts.collided += 1;
        // The hash is no secret: somebody may choose names for which it is the same. The number tells those apart.
        (0..=self.places.len() as u64)
            .map(|n| {
                let mut marked = plain.clone();
                let number = n.to_le_bytes();
                let parts: [&[u8]; 3] = [name, id, if n == 0 { b"" } else { &number }];
                push_mark(&mut marked, hash(&parts));
                marked
            })
            .find(|marked| !taken(marked))
            .unwrap_or(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use std::time::Duration;

    fn stem_of(name: &[u8], id: &[u8]) -> String {
        let mut containers = Containers::new("cnf-0", "ns1");
        containers.get(name, id, Instant::now()).stem.clone()
    }

    #[test]
    fn ordinary_names_are_kept_exactly() {
        assert_eq!(
            stem_of(b"app", b"0123456789ab"),
            "cnf-0_ns1_app-0123456789ab"
        );
        assert_eq!(stem_of(b"cim", b""), "cnf-0_ns1_cim-");
        assert_eq!(stem_of(b"", b""), "cnf-0_ns1_-");
        let (name, id) = ("n".repeat(63), "f".repeat(64));
        assert_eq!(
            stem_of(name.as_bytes(), id.as_bytes()),
            format!("cnf-0_ns1_{name}-{id}")
        );
        let pod = "p".repeat(63);
        assert_eq!(stem_prefix(&pod, &pod), format!("{pod}_{pod}_"));
    }

    #[test]
    fn a_name_that_looks_like_a_path_is_a_name() {
        assert_eq!(
            stem_of(b"../../etc/passwd\0", b"/"),
            "cnf-0_ns1_..%2F..%2Fetc%2Fpasswd%00-%2F"
        );
    }

    #[test]
    fn the_same_container_is_the_same_value() {
        let now = Instant::now();
        let mut containers = Containers::new("p", "n");
        let a = containers.get(b"a", b"1", now);
        let b = containers.get(b"b", b"1", now);
        assert!(Arc::ptr_eq(&a, &containers.get(b"a", b"1", now)));
        assert!(Arc::ptr_eq(&a, &containers.get(b"a", b"1", now)));
        assert!(Arc::ptr_eq(&b, &containers.get(b"b", b"1", now)));
    }

    #[test]
    fn two_names_never_collide_into_one_file_unnoticed() {
        let now = Instant::now();
        let mut containers = Containers::new("p", "n");
        let first = containers.get(b"a-b", b"c", now);
        let second = containers.get(b"a", b"b-c", now);
        assert_eq!(first.stem, "p_n_a-b-c");
        assert!(second.stem.starts_with("p_n_a-b-c%~"), "{}", second.stem);
        assert_eq!(containers.counts().collided, 1);
        assert!(Arc::ptr_eq(&second, &containers.get(b"a", b"b-c", now)));
        assert_eq!(containers.counts().collided, 1);
    }

    #[test]
    fn beyond_the_limit_lines_share_a_container_until_a_place_is_idle() {
        let start = Instant::now();
        let mut containers = Containers::with_limit("p", "n", 2);
        containers.get(b"a", b"", start);
        containers.get(b"b", b"", start + Duration::from_secs(1));
        let third = containers.get(b"c", b"", start + Duration::from_secs(2));
        assert_eq!(third.stem, "p_n_%overflow-");
        assert_eq!(containers.counts().overflowed, 1);
        let later = start + limits::CONTAINER_IDLE;
        assert_eq!(containers.get(b"c", b"", later).stem, "p_n_c-");
        assert_eq!(containers.get(b"b", b"", later).stem, "p_n_b-");
        assert_eq!(containers.get(b"a", b"", later).stem, "p_n_%overflow-");
        assert_eq!(containers.index.len(), 2);
    }

    #[test]
    fn the_container_of_the_overflow_cannot_be_named_from_outside() {
        assert_eq!(stem_of(b"%overflow", b""), "cnf-0_ns1_%25overflow-");
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[a-c%-]{0,4}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..200),
            "[é/a]{0,120}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn stems_are_different_safe_and_short(
            pairs in proptest::collection::hash_set((name(), name()), 0..30),
            pod in "[a-z0-9.-]{0,80}", ns in "[a-z0-9-]{0,70}",
        ) {
            let mut containers = Containers::new(&pod, &ns);
            let mut stems = HashSet::new();
            for (name, id) in &pairs {
                let container = containers.get(name, id, Instant::now());
                prop_assert_eq!((&*container.name, &*container.id), (&name[..], &id[..]));
                prop_assert!(container.stem.len() <= limits::STEM_BYTES);
                prop_assert!(container.stem.starts_with(containers.prefix()));
                prop_assert!(!container.stem.contains(|c: char| c.is_control() || c == '/'));
                prop_assert!(stems.insert(container.stem.clone()));
            }
        }
    }
}
