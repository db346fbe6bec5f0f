//! Change sets (CONTRACT section 4) and the first configuration (section 5), as state machines without IO and clock.
