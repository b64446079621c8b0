"""The record: one entry of the stream, the same bytes in a datagram, on a replay connection and in a segment.

Payload first, stamp last, so that a decoder that knows the payload reads it in place:

| offset from the end | bytes | field | notes |
|---|---|---|---|
| -28 | 1 | kind | 0 data, 1 epoch start, 2 end of session, 3 admission; others are reserved, receivers skip them |
| -27 | 1 | flags | bit 0 first fragment, bit 1 last fragment; a whole message has both |
| -26 | 6 | sender | user name of the SoupBinTCP login, ASCII, space-padded on the right |
| -20 | 8 | sender sequence | 1, 2, 3 ... per sender and session |
| -12 | 8 | time | UTC nanoseconds when stamped; never decreases along the stream |
| -4 | 4 | crc32c | over stream number (8 bytes), payload, and the stamp before this field |

All integers are big-endian. This is the plain form, for control records, tools and tests; the hot path does
the same in C (`native/src/record.h`).
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from attrs import field, frozen

from rewinder._native import (
    PAYLOAD_LIMIT_BYTES,
    RECORD_CHECK,
    RECORD_LIMIT_BYTES,
    SENDER_BYTES,
    STAMP_BYTES,
    crc32c,
)
from rewinder.errors import DamagedRecord, LocalProtocolError

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = [
    "PAYLOAD_LIMIT_BYTES",
    "RECORD_CHECK",
    "RECORD_LIMIT_BYTES",
    "SENDER_BYTES",
    "STAMP_BYTES",
    "Flags",
    "Kind",
    "Stamp",
    "admission_payload",
    "check_record",
    "epoch_payload",
    "read_admission",
    "read_epoch",
    "read_stamp",
    "stamp_record",
]

_STAMP = struct.Struct(">BB6sQQ")  # everything but the checksum
_NUMBER = struct.Struct(">Q")
_CRC = struct.Struct(">I")
_EPOCH = struct.Struct(">Q6s")
_ADMISSION = struct.Struct(">6sQ")

_NUMBER_LIMIT = 1 << 64


class Kind(IntEnum):
    """What a record is."""

    DATA = 0
    """A message of a sender, or a fragment of one."""
    EPOCH = 1
    """The first record of an epoch: a node has become primary."""
    END = 2
    """The last record of the session."""
    ADMIT = 3
    """A voter that had lost what it held, and has it again, votes from here on."""


class Flags(IntFlag):
    """Which part of a message a record carries."""

    MIDDLE = 0
    FIRST = 1
    LAST = 2
    WHOLE = 3


def _in_64_bits(_stamp: Stamp, attribute: Attribute[int], value: int) -> None:
    if not 0 <= value < _NUMBER_LIMIT:
        raise LocalProtocolError(f"{attribute.name} {value} does not fit 64 bits")


def _in_8_bits(_stamp: Stamp, attribute: Attribute[int], value: int) -> None:
    if not 0 <= value <= 255:
        raise LocalProtocolError(f"{attribute.name} {value} does not fit 8 bits")


def _six_bytes(_stamp: Stamp, attribute: Attribute[bytes], value: bytes) -> None:
    if len(value) != SENDER_BYTES:
        raise LocalProtocolError(f"{attribute.name} {value!r} does not have {SENDER_BYTES} bytes")


@frozen
class Stamp:
    """The stamp of a record, without its checksum.

    `time_ns` is UTC nanoseconds; `sender` has six bytes, padded with spaces on the right. `kind` may be a
    reserved one, above those of `Kind`. Raises LocalProtocolError for values that the fields cannot hold.
    """

    time_ns: int = field(validator=_in_64_bits)
    sender_sequence: int = field(validator=_in_64_bits)
    sender: bytes = field(validator=_six_bytes)
    kind: int = field(default=int(Kind.DATA), validator=_in_8_bits)
    flags: int = field(default=int(Flags.WHOLE), validator=_in_8_bits)


def stamp_record(payload: bytes, number: int, stamp: Stamp) -> bytes:
    """The record of `payload` as stream number `number`.

    Raises LocalProtocolError for a payload above `PAYLOAD_LIMIT_BYTES`.
    """
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise LocalProtocolError(f"a record carries at most {PAYLOAD_LIMIT_BYTES} bytes, not {len(payload)}")
    covered = payload + _STAMP.pack(
        stamp.kind, stamp.flags, stamp.sender, stamp.sender_sequence, stamp.time_ns
    )
    return covered + _CRC.pack(_checksum(covered, number))


def check_record(record: bytes | memoryview, number: int) -> None:
    """Raise DamagedRecord unless `record` is whole and belongs at stream number `number`."""
    if len(record) < STAMP_BYTES:
        raise DamagedRecord(number, f"{len(record)} bytes are too few for a stamp")
    covered = bytes(record[:-4])
    if _CRC.unpack_from(record, len(covered))[0] != _checksum(covered, number):
        raise DamagedRecord(number, "the checksum is wrong: it is damaged, or belongs to another number")


def read_stamp(record: bytes | memoryview) -> Stamp:
    """The stamp of a record, without a check. Raises DamagedRecord (number 0) when it is too short for one."""
    if len(record) < STAMP_BYTES:
        raise DamagedRecord(0, f"{len(record)} bytes are too few for a stamp")
    kind, flags, sender, sequence, time_ns = _STAMP.unpack_from(record, len(record) - STAMP_BYTES)
    return Stamp(time_ns, sequence, sender, kind, flags)


def epoch_payload(epoch: int, owner: str) -> bytes:
    """The payload of an epoch-start record: epoch (8 bytes), name of the node that opens it (6, space-padded).

    The stamp of the record has the owner as its sender and the epoch as its sender sequence.
    """
    name = owner.encode("ascii").ljust(SENDER_BYTES)
    if len(name) != SENDER_BYTES:
        raise LocalProtocolError(f"node name {owner!r} is longer than {SENDER_BYTES} characters")
    return _EPOCH.pack(epoch, name)


def read_epoch(payload: bytes | memoryview) -> tuple[int, str]:
    """(epoch, owner) from the payload of an epoch-start record; DamagedRecord (number 0) when it is not one."""
    if len(payload) != _EPOCH.size:
        raise DamagedRecord(0, f"an epoch start has {_EPOCH.size} bytes, not {len(payload)}")
    epoch, name = _EPOCH.unpack(payload)
    return epoch, name.decode("ascii", "replace").rstrip()


def admission_payload(voter: str, incarnation: int) -> bytes:
    """The payload of an admission record: the voter's name (6 bytes, space-padded), its incarnation (8).

    An incarnation is drawn at random when a node begins its copy of the session; see `rewinder.promise`.
    """
    name = voter.encode("ascii").ljust(SENDER_BYTES)
    if len(name) != SENDER_BYTES:
        raise LocalProtocolError(f"node name {voter!r} is longer than {SENDER_BYTES} characters")
    return _ADMISSION.pack(name, incarnation)


def read_admission(payload: bytes | memoryview) -> tuple[str, int]:
    """(voter, incarnation) from the payload of an admission record; DamagedRecord (number 0) if it is none."""
    if len(payload) != _ADMISSION.size:
        raise DamagedRecord(0, f"an admission has {_ADMISSION.size} bytes, not {len(payload)}")
    name, incarnation = _ADMISSION.unpack(payload)
    if not name.isascii():
        raise DamagedRecord(0, f"an admission names {name!r}, which is no node")
    return name.decode("ascii").rstrip(), incarnation


def _checksum(covered: bytes, number: int) -> int:
    return crc32c(covered, crc32c(_NUMBER.pack(number)))
