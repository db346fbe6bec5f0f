//! FlatBuffers tables of CONTRACT section 2.
