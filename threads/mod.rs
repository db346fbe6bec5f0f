//! What CIM does all day: one file for each thread.
