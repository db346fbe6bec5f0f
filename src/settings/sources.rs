//! Where settings come from: the mounted cim.json, else the ConfigMap, else the shipped one, else what is built in; and
//! common-infra.json, else what TMaaS says. What cannot be used is passed over; a file's error is kept.

use std::fmt;
use std::path::{Path, PathBuf};

use super::document::CimDocument;
use super::file::{self, FileCause, FileError};
use super::infra::InfraDocument;
use crate::limits;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The mounted file.
    File,
    /// The pod's ConfigMap.
    ConfigMap,
    /// The cim.json shipped with CIM.
    Shipped,
    /// The default.
    BuiltIn,
    /// The application's registration.
    Registration,
    /// A change set that came through etcd.
    ChangeSet,
    /// TMaaS.
    Tmaas,
    /// An environment variable.
    Environment,
    /// A command line flag.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::File => "file",
            Self::ConfigMap => "config map",
            Self::Shipped => "shipped",
            Self::BuiltIn => "built-in",
            Self::Registration => "registration",
            Self::ChangeSet => "change set",
            Self::Tmaas => "tmaas",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
        })
    }
}

/// A setting in force, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its path or name.
    pub name: String,
    /// Its value; empty: not set.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

/// The files that settings are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The mounted cim.json (`CIM_CONF_FILE`).
    pub cim: PathBuf,
    /// The shipped cim.json (`CIM_SHIPPED_CONF_FILE`).
    pub shipped: PathBuf,
    /// common-infra.json (`CIM_INFRA_FILE`).
    pub infra: PathBuf,
}

/// What the files say.
#[derive(Debug)]
pub struct Loaded {
    /// The cim.json to use.
    pub cim: CimDocument,
    /// Which one it is: `File`, `Shipped` or `BuiltIn`.
    pub cim_source: Source,
    /// The mounted cim.json exists, be it good or bad.
    pub mounted: bool,
    /// The common-infra.json to use, empty when there is none.
    pub infra: InfraDocument,
    /// common-infra.json was there and good.
    pub infra_found: bool,
    /// The files that are there and cannot be used.
    pub refused: Vec<FileError>,
}

impl Loaded {
    /// What is in force without any file.
    pub fn built_in() -> Self {
        Self {
            cim: CimDocument::built_in(),
            cim_source: Source::BuiltIn,
            mounted: false,
            infra: InfraDocument::default(),
            infra_found: false,
            refused: Vec::new(),
        }
    }
}

impl Files {
    /// Reads the files. The shipped cim.json is only looked at when the mounted one is missing or bad.
    pub fn load(&self) -> Loaded {
        let mut loaded = Loaded::built_in();
        for (path, source) in [(&self.cim, Source::File), (&self.shipped, Source::Shipped)] {
            let found = read(path, CimDocument::parse);
            loaded.mounted |= source == Source::File && !matches!(found, Ok(None));
            match found {
                Ok(None) => {}
                Ok(Some(document)) => {
                    loaded.cim = document;
                    loaded.cim_source = source;
                    break;
                }
                Err(e) => loaded.refused.push(e),
            }
        }
        match read(&self.infra, InfraDocument::parse) {
            Ok(None) => {}
            Ok(Some(document)) => {
                loaded.infra = document;
                loaded.infra_found = true;
            }
            Err(e) => loaded.refused.push(e),
        }
        loaded
    }
}

fn read<T, E: Into<FileCause>>(
    path: &Path,
    parse: fn(&[u8]) -> Result<T, E>,
) -> Result<Option<T>, FileError> {
    let Some(bytes) = file::read(path, limits::CONFIG_FILE_BYTES)? else {
        return Ok(None);
    };
    parse(&bytes).map(Some).map_err(|e| FileError {
        path: path.to_owned(),
        cause: e.into(),
    })
}
