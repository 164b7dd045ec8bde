"""Constant databases: D. J. Bernstein's public cdb format (https://cr.yp.to/cdb/cdb.txt). Pure.

A 2048-byte header of 256 (position, slots) pairs, then the records (key length, data length, key, data), then 256
hash tables of (hash, position) slots. All numbers are 32-bit little-endian, so a file ends below 4 GiB. A look-up
touches two or three places of the file, whatever its size.
"""

import struct
from collections.abc import Iterable, Iterator
from mmap import mmap

_PAIR = struct.Struct("<II")
_HEADER_SIZE = 256 * 8
SIZE_LIMIT = 0xFFFFFFFF
"""Bytes: what a 32-bit position reaches."""


class DatabaseFault(ValueError):
    """The bytes are no whole constant database, or would not fit in one."""


def hash_key(key: bytes) -> int:
    """The format's hash: start with 5381; for each byte times 33, then exclusive-or."""
    value = 5381
    for byte in key:
        value = ((value << 5) + value & 0xFFFFFFFF) ^ byte
    return value


def check(data: bytes | mmap) -> None:
    """Raise DatabaseFault unless header and tables lie within the data."""
    size = len(data)
    if size < _HEADER_SIZE:
        raise DatabaseFault("shorter than its header")
    expected = None
    for index in range(256):
        position, slots = _PAIR.unpack_from(data, index * 8)
        if position < _HEADER_SIZE or position + slots * 8 > size:
            raise DatabaseFault("a hash table lies outside of the file")
        if expected is not None and position != expected:
            raise DatabaseFault("the hash tables do not follow each other")
        expected = position + slots * 8
    if expected != size:
        raise DatabaseFault("the hash tables do not end where the file ends")


def find(data: bytes | mmap, key: bytes) -> bytes | None:
    """The first record's data for this key. Raises DatabaseFault for damage."""
    hashed = hash_key(key)
    table, slots = _PAIR.unpack_from(data, (hashed & 255) * 8)
    if not slots:
        return None
    try:
        slot = (hashed >> 8) % slots
        for _ in range(slots):
            slot_hash, position = _PAIR.unpack_from(data, table + slot * 8)
            if not position:
                return None
            if slot_hash == hashed:
                key_size, data_size = _PAIR.unpack_from(data, position)
                start = position + 8
                if key_size == len(key) and data[start : start + key_size] == key:
                    found = data[start + key_size : start + key_size + data_size]
                    if len(found) != data_size:
                        raise DatabaseFault("a record lies outside of the file")
                    return found
            slot += 1
            if slot == slots:
                slot = 0
    except struct.error as error:
        raise DatabaseFault("a position lies outside of the file") from error
    return None


def records(data: bytes | mmap) -> Iterator[tuple[bytes, bytes]]:
    """All (key, data), in the order in which they were written. Raises DatabaseFault for damage."""
    end = min(len(data), *(_PAIR.unpack_from(data, index * 8)[0] for index in range(256)))
    position = _HEADER_SIZE
    while position < end:
        if position + 8 > end:
            raise DatabaseFault("a record lies outside of the file")
        key_size, data_size = _PAIR.unpack_from(data, position)
        start = position + 8
        position = start + key_size + data_size
        if position > end:
            raise DatabaseFault("a record lies outside of the file")
        yield data[start : start + key_size], data[start + key_size : position]


def build(pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """The file in pieces: records first, hash tables next, the 2048 bytes of the header *last* (write them at 0).

    Raises DatabaseFault past SIZE_LIMIT.
    """
    buckets: list[list[tuple[int, int]]] = [[] for _ in range(256)]
    position = _HEADER_SIZE
    for key, value in pairs:
        hashed = hash_key(key)
        buckets[hashed & 255].append((hashed, position))
        position += 8 + len(key) + len(value)
        if position > SIZE_LIMIT:
            raise DatabaseFault("the data do not fit in 4 GiB")
        yield _PAIR.pack(len(key), len(value)) + key + value
    header = []
    for bucket in buckets:
        # Half of the slots stay empty, so that a search ends soon.
        slots = len(bucket) * 2
        header.append(_PAIR.pack(position, slots))
        position += slots * 8
        if position > SIZE_LIMIT:
            raise DatabaseFault("the data do not fit in 4 GiB")
        table = [(0, 0)] * slots
        for hashed, where in bucket:
            slot = (hashed >> 8) % slots
            while table[slot][1]:
                slot = (slot + 1) % slots
            table[slot] = (hashed, where)
        yield b"".join(_PAIR.pack(*entry) for entry in table)
    yield b"".join(header)
