//! The application's metrics at wall-clock multiples of an interval (CONTRACT section 9).
//!
//! ```text
//! annotation.rs   what is to be scraped              span.rs     spans of time as Go writes them
//! schedule.rs     when                               client.rs   the ports over HTTP
//! exposition.rs   the text of a port -> families     line.rs     the words of one line
//! family.rs       a family and its samples           snapshot.rs what was scraped at one time, and those that wait
//! error.rs        what is wrong with a text          render.rs   snapshots -> the text that is handed out
//! scrape_error.rs why a port gave nothing            exporter.rs those that wait, shared by two threads
//! ```

pub mod annotation;
pub mod client;
pub mod error;
pub mod exporter;
pub mod exposition;
pub mod family;
mod line;
pub mod render;
pub mod schedule;
pub mod scrape_error;
pub mod snapshot;
pub mod span;

pub use error::{ParseError, Problem};
pub use exposition::{Format, ParseLimits, parse};
pub use family::{Family, Kind};
pub use render::render;
pub use snapshot::{Dropped, Snapshot, Snapshots, TooLarge};
