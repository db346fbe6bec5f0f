"""FlatBuffers LogMessage as the standard runtimes write it: root offset, vtable, table, three strings."""

import struct

# The table is at 16; the vtable at 6: its size, the table's, where container_id, container_name and payload are; 10 bytes back to it.
_HEAD = struct.pack("<IxxHHHHHi", 16, 10, 16, 12, 8, 4, 10)


def _string(text: bytes) -> bytes:
    data = struct.pack("<I", len(text)) + text + b"\0"
    return data + b"\0" * (-len(data) % 4)


def log_message(name: str, container_id: str, payload: bytes) -> bytes:
    strings = [_string(payload), _string(name.encode()), _string(container_id.encode())]
    # Offsets count from the field itself: fields at 20, 24, 28, strings from 32.
    offsets = (12, 8 + len(strings[0]), 4 + len(strings[0]) + len(strings[1]))
    return _HEAD + struct.pack("<III", *offsets) + b"".join(strings)
