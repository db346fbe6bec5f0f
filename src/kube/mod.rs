//! The Kubernetes API, as far as CIM needs it (CONTRACT section 11).
