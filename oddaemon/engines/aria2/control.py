"""aria2's control file: whether it is whole. On a full disk aria2 replaces it by one that is cut or empty (measured on
1.36), and then can neither go on nor begin again.

The format is described in aria2's manual, "Control File (*.aria2) Format": version (2 bytes), extension (4), length of
the info-hash (4), the info-hash, piece length (4), total length (8), upload length (8), length of the bitfield (4), the
bitfield, number of pieces in flight (4), and for each of those index, length, length of its bitfield (4 each), and the
bitfield. Version 1 is big-endian.
"""

from __future__ import annotations

import struct

_VERSION = 1


def is_whole(data: bytes) -> bool:
    try:
        version, hash_length = struct.unpack_from(">H4xI", data)
        at = 10 + hash_length + 4 + 8 + 8
        (bits,) = struct.unpack_from(">I", data, at)
        at += 4 + bits
        (in_flight,) = struct.unpack_from(">I", data, at)
        at += 4
        for _ in range(in_flight):
            (bits,) = struct.unpack_from(">8xI", data, at)
            at += 12 + bits
    except struct.error:
        return False
    return bool(version == _VERSION and at == len(data))
