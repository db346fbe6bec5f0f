//! Why a client's connection ends. Names and texts are nats-server's (`ClosedState`, the `-ERR` texts), so that clients
//! and operators read what they know.

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed it.
    ClientClosed,
    /// No CONNECT in time although authentication is on.
    AuthenticationTimeout,
    /// Wrong or missing credentials.
    AuthenticationFailure,
    /// More waits for the client than it may have waiting.
    SlowConsumerPendingBytes,
    /// The client took nothing for the write deadline.
    SlowConsumerWriteDeadline,
    /// Writing failed.
    WriteError,
    /// Reading failed.
    ReadError,
    /// The client reported an error itself.
    ParseError,
    /// PINGs without an answer.
    StaleConnection,
    /// Bytes that are not NATS, or an operation with bad arguments.
    ProtocolViolation,
    /// CONNECT with an unknown `protocol`.
    BadClientProtocolVersion,
    /// One connection too many.
    MaxConnectionsExceeded,
    /// A payload larger than allowed was announced.
    MaxPayloadExceeded,
    /// A control line longer than allowed.
    MaxControlLineExceeded,
    /// CONNECT with `no_responders` but without `headers`.
    NoRespondersRequiresHeaders,
    /// Half-received messages of all clients took too much memory, and this client had kept one waiting the longest.
    PartialMessages,
    /// No TLS handshake in time, or one that failed.
    TlsHandshakeError,
    /// CIM ends.
    ServerShutdown,
}

impl CloseReason {
    /// nats-server's name of the reason, for logs, metrics and monitoring.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationFailure => "Authentication Failure",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::ParseError => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::BadClientProtocolVersion => "Bad Client Protocol Version",
            Self::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            Self::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            Self::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::PartialMessages => "Partial Messages Exceeded",
            Self::TlsHandshakeError => "TLS Handshake Failure",
            Self::ServerShutdown => "Server Shutdown",
        }
    }

    /// The text of the `-ERR` that the client gets first, where nats-server sends one.
    pub fn error_text(self) -> Option<&'static str> {
        match self {
            Self::AuthenticationTimeout => Some("Authentication Timeout"),
            Self::AuthenticationFailure => Some("Authorization Violation"),
            Self::StaleConnection => Some("Stale Connection"),
            Self::BadClientProtocolVersion => Some("invalid client protocol"),
            Self::MaxConnectionsExceeded => Some("maximum connections exceeded"),
            Self::MaxPayloadExceeded => Some("Maximum Payload Violation"),
            Self::MaxControlLineExceeded => Some("maximum control line exceeded"),
            Self::NoRespondersRequiresHeaders => Some("no responders requires headers support"),
            Self::PartialMessages => Some("Slow Publisher"),
            Self::ClientClosed
            | Self::SlowConsumerPendingBytes
            | Self::SlowConsumerWriteDeadline
            | Self::WriteError
            | Self::ReadError
            | Self::ParseError
            | Self::ProtocolViolation
            // Whoever waits for a handshake could not read it.
            | Self::TlsHandshakeError
            | Self::ServerShutdown => None,
        }
    }

    /// The client did not read what it subscribed to.
    pub fn is_slow_consumer(self) -> bool {
        matches!(
            self,
            Self::SlowConsumerPendingBytes | Self::SlowConsumerWriteDeadline
        )
    }
}
