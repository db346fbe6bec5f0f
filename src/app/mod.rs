//! The HTTP side of the application.
