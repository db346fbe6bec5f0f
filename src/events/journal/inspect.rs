//! A journal seen from outside.
