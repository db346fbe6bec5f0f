//! Names to addresses for HTTP clients. ureq asks for the addresses of a server before every call, also when it has a
//! connection, and starts a thread each time when the call has a time limit: a look-up for every call would cost more
//! than the call. Here an address stands for itself, and a name that was found keeps its addresses for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::limits;

/// Addresses of at most [`limits::RESOLVED_NAMES`] names, each for [`limits::RESOLVED_TIME`].
#[derive(Debug, Default)]
pub struct CachingResolver {
    system: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let name = uri
            .scheme()
            .zip(uri.authority())
            .and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority))
            .ok_or_else(|| ureq::Error::BadUri(uri.to_string()))?;
        if let Ok(address) = name.parse() {
            return Ok(self.addresses(&[address]));
        }
        let now = Instant::now();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|_, (found, _)| now.duration_since(*found) < limits::RESOLVED_TIME);
            if let Some((_, addresses)) = known.get(&name) {
                return Ok(self.addresses(addresses));
            }
        }
        // Without the lock: it may take as long as `timeout`.
        let found = self.system.resolve(uri, config, timeout);
        // A failed look-up has an error of no kind of its own; callers must tell it from a connection that broke.
        let found = found.map_err(|error| match error {
            ureq::Error::Io(_) => ureq::Error::HostNotFound,
            other => other,
        })?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < limits::RESOLVED_NAMES {
            known.insert(name, (now, found.iter().copied().collect()));
        }
        Ok(found)
    }
}

impl CachingResolver {
    fn addresses(&self, addresses: &[SocketAddr]) -> ResolvedSocketAddrs {
        let mut all = self.empty();
        // There are never more than ureq has found itself, so there is room.
        for address in addresses {
            all.push(*address);
        }
        all
    }
}

/// For the own pod: `localhost` is both loopback addresses, IPv4 first, and an address is itself; no file, server or thread is
/// needed for either. For any other name the system is asked.
#[derive(Debug, Default)]
pub struct LocalResolver(DefaultResolver);

impl Resolver for LocalResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let known: &[IpAddr] = if host.eq_ignore_ascii_case("localhost") {
            &[
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ]
        } else if let Ok(address) = bare.parse() {
            &[address]
        } else {
            return self.0.resolve(uri, config, timeout);
        };
        let port = uri.port_u16().unwrap_or(80);
        let mut addresses = self.empty();
        for &address in known {
            addresses.push(SocketAddr::new(address, port));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(resolver: &CachingResolver, uri: &str) -> Result<Vec<SocketAddr>, ureq::Error> {
        let uri: Uri = uri.parse().unwrap();
        let found = resolver.resolve(&uri, &Default::default(), NextTimeout::default())?;
        Ok(found.iter().copied().collect())
    }

    #[test]
    fn an_address_stands_for_itself_and_is_not_kept() {
        let resolver = CachingResolver::default();
        for (uri, address) in [
            ("http://127.0.0.1:2379/v3", "127.0.0.1:2379"),
            ("https://127.0.0.1", "127.0.0.1:443"),
            ("http://[::1]:2379", "[::1]:2379"),
        ] {
            assert_eq!(
                resolve(&resolver, uri).unwrap(),
                [address.parse().unwrap()],
                "{uri}"
            );
        }
        assert!(resolver.known.lock().unwrap().is_empty());
    }

    #[test]
    fn a_name_keeps_its_addresses() {
        let resolver = CachingResolver::default();
        let found = resolve(&resolver, "http://localhost:1").unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        let other: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let known = |addresses| (Instant::now(), addresses);
        let name = "localhost:1".to_owned();
        resolver
            .known
            .lock()
            .unwrap()
            .insert(name, known(vec![other]));
        assert_eq!(resolve(&resolver, "http://localhost:1").unwrap(), [other]);
    }

    #[test]
    fn more_names_than_there_is_room_for_are_looked_up_each_time() {
        let resolver = CachingResolver::default();
        for port in 1..limits::RESOLVED_NAMES as u16 + 3 {
            assert!(
                !resolve(&resolver, &format!("http://localhost:{port}"))
                    .unwrap()
                    .is_empty()
            );
        }
        assert_eq!(resolver.known.lock().unwrap().len(), limits::RESOLVED_NAMES);
    }
}
