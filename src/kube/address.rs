//! Where the Kubernetes API server is.

use std::fmt;

use crate::settings::address;
use crate::settings::problem;

/// `host:port` of the API server; an IPv6 address is in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress(String);

/// The environment does not say where the API server is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Kubernetes sets both in every pod.
    #[error("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not both set")]
    Missing,
    /// Set, and no address.
    #[error("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT give no address: {0}")]
    Bad(String),
}

impl ServerAddress {
    /// From the values of `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    ///
    /// # Errors
    /// One of them is missing, or they are no host and port.
    pub fn new(host: Option<&str>, port: Option<&str>) -> Result<Self, AddressError> {
        let (Some(host), Some(port)) = (host, port) else {
            return Err(AddressError::Missing);
        };
        let given = match host.parse::<std::net::Ipv6Addr>() {
            Ok(_) => format!("[{host}]:{port}"),
            Err(_) => format!("{host}:{port}"),
        };
        if !address::is_host_port(&given) {
            return Err(AddressError::Bad(problem::shown(&given)));
        }
        Ok(Self(given))
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_kubernetes_gives_them() {
        for (host, port, expected) in [
            (Some("10.96.0.1"), Some("443"), Some("10.96.0.1:443")),
            (Some("fd00::1"), Some("443"), Some("[fd00::1]:443")),
            (Some("[fd00::1]"), Some("443"), Some("[fd00::1]:443")),
            (
                Some("kubernetes.default.svc"),
                Some("443"),
                Some("kubernetes.default.svc:443"),
            ),
            (None, Some("443"), None),
            (Some("10.96.0.1"), None, None),
            (Some("10.96.0.1"), Some("0"), None),
            (Some("a/b"), Some("443"), None),
            (Some("u@h"), Some("443"), None),
        ] {
            let address = ServerAddress::new(host, port);
            assert_eq!(address.ok().map(|a| a.to_string()).as_deref(), expected);
        }
    }
}
