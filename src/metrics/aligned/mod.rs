//! The application's metrics at wall-clock multiples of an interval (CONTRACT section 9).
//!
//! ```text
//! annotation.rs   what is to be scraped       span.rs   spans of time as Go writes them       schedule.rs   when
//! client.rs       the ports over HTTP         error.rs   why a port gave nothing
//! ```

pub mod annotation;
pub mod client;
pub mod error;
pub mod schedule;
pub mod span;
