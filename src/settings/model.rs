//! What cim.json and common-infra.json say, as types. Ranges: CONTRACT section 1.

/// Everything that can change while CIM runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// cim.json.
    pub cim: CimConfig,
    /// common-infra.json.
    pub infra: CommonInfra,
}

/// The object `cimConfig` of cim.json.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CimConfig {
    /// Log files and sinks.
    pub lmaas: Lmaas,
    /// CIM itself.
    pub cim_settings: CimSettings,
    /// The application beside CIM.
    pub app_settings: AppSettings,
}

/// `cimConfig.lmaas`.
#[derive(Debug, Clone, PartialEq)]
pub struct Lmaas {
    /// Size at which a log file is rotated, in MiB (the original's unit): 1..=50.
    pub max_file_size_in_mb: u32,
    /// Rotated files kept for each container: 1..=20.
    pub max_backup_files: u32,
    /// Days after which a rotated file is removed: 1..=30.
    pub max_age: u32,
    /// Bytes of a container's lines at which its buffer is written: 1000..=100000.
    pub buffer_size: u32,
    /// Seconds that a line may stay unwritten at the most: 5..=30.
    pub flush_timeout: u32,
    /// Where lines go.
    pub logging_mode: LoggingMode,
    /// Mode TCP: to the Fluent Bit pod of the same node.
    pub prefer_local_daemonset: bool,
}

impl Default for Lmaas {
    fn default() -> Self {
        Self {
            max_file_size_in_mb: 10,
            max_backup_files: 10,
            max_age: 7,
            buffer_size: 10_000,
            flush_timeout: 30,
            logging_mode: LoggingMode::File,
            prefer_local_daemonset: false,
        }
    }
}

/// `cimConfig.lmaas.logging_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoggingMode {
    /// Rotating files.
    #[default]
    File,
    /// Lines to a TCP collector.
    Tcp,
    /// Records on topic LOGS.
    Kafka,
    /// CIM's standard output.
    Stdout,
    /// Files and standard output.
    FileAndStdout,
}

/// `cimConfig.cim_settings`.
#[derive(Debug, Clone, PartialEq)]
pub struct CimSettings {
    /// Metrics on.
    pub enable_kpi: bool,
    /// Level of CIM's own log.
    pub log_level: LogLevel,
    /// CIM's own log goes through the log pipeline; else to standard output.
    pub cim_file_log: bool,
    /// 0..=5; accepted, unused.
    pub num_garp_count: u32,
    /// Tries, one a second, to reach a service: 1..=600.
    pub remote_svc_retry_count: u32,
    /// 1..=600; accepted, unused.
    pub ttl_timeout: u32,
    /// `client.id` towards Kafka.
    pub kafka_client_id: Option<String>,
}

impl Default for CimSettings {
    fn default() -> Self {
        Self {
            enable_kpi: true,
            log_level: LogLevel::All,
            cim_file_log: true,
            num_garp_count: 1,
            remote_svc_retry_count: 60,
            ttl_timeout: 1,
            kafka_client_id: None,
        }
    }
}

/// `cimConfig.cim_settings.log_level`: this level and everything graver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    #[default]
    All,
    /// What a developer of CIM wants to see.
    Debug,
    /// What an operator wants to see.
    Info,
    /// What may need a look.
    Warning,
    /// What failed.
    Error,
    /// What ends CIM.
    Exception,
}

/// `cimConfig.app_settings`.
#[derive(Debug, Clone, PartialEq)]
pub struct AppSettings {
    /// The application's HTTP port: 1..=65535, outside 5000..=10000 with a warning.
    pub app_port: u16,
    /// Talk HTTP/2 with prior knowledge to the application.
    pub http2_enabled: bool,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            app_port: 9999,
            http2_enabled: false,
        }
    }
}

/// common-infra.json: where the surroundings are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommonInfra {
    /// `host:port`, comma-separated, `http://` and `https://` too.
    pub etcd_url: Option<String>,
    /// `host:port` of each broker.
    pub kafka_brokers: Vec<String>,
    /// `host:port` of the log collector, a service name or an address.
    pub logging_svc_url: Option<String>,
    /// Port of the log collector on the same node.
    pub logging_svc_tcp_port: Option<String>,
    /// Send stored lines when the sink is back.
    pub enable_retrx: bool,
    /// Form of a line on STDOUT, TCP and KAFKA.
    pub log_format: LogFormat,
    /// Address of the API gateway, for the answer to a registration.
    pub apigw_rest_fqdn: Option<String>,
    /// Address of the topology engine, for the answer to a registration.
    pub topoengine_fqdn: Option<String>,
}

/// `log_format` of common-infra.json.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// The raw line; `log_format` is `text`.
    Text,
}

impl LoggingMode {
    /// Every mode with its name in cim.json.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("FILE", Self::File),
        ("TCP", Self::Tcp),
        ("KAFKA", Self::Kafka),
        ("STDOUT", Self::Stdout),
        ("FILEANDSTDOUT", Self::FileAndStdout),
    ];

    /// The name in cim.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "FILE",
            Self::Tcp => "TCP",
            Self::Kafka => "KAFKA",
            Self::Stdout => "STDOUT",
            Self::FileAndStdout => "FILEANDSTDOUT",
        }
    }
}

impl LogLevel {
    /// Every level with its name in cim.json.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("ALL", Self::All),
        ("DEBUG", Self::Debug),
        ("INFO", Self::Info),
        ("WARNING", Self::Warning),
        ("ERROR", Self::Error),
        ("EXCEPTION", Self::Exception),
    ];

    /// The name in cim.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Exception => "EXCEPTION",
        }
    }
}
