//! The NATS protocol and what the server does with it; sans-IO.
