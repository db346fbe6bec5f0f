//! Lines that a remote sink could not take: in the log files, with a stored position, until they are sent.
