//! Thread
