//! Events and configuration answers of the application, on their way to the parts that handle them.

pub mod inbox;
pub mod own;
