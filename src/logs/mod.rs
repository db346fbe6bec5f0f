//! Log lines: who they belong to, what they look like on each sink, and the rotating files (CONTRACT section 6).
//!
//! A line in a file is the payload's bytes and `\n`, whatever they are: not UTF-8, none at all, 1 MiB, line ends
//! inside. [`files`] decides what is written when; [`file`] writes one file; [`folder`] is the directory with its
//! backups; [`disk`] is the only place that calls the file system.

pub mod backlog;
pub mod backups;
pub mod batch;
pub mod board;
pub mod container;
pub mod disk;
pub mod file;
pub mod files;
pub mod folder;
pub mod format;
pub mod json;
pub mod names;
pub mod output;
pub mod remote;
pub mod throttle;
pub mod trouble;
pub mod verify;
