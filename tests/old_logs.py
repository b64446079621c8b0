"""Logs of old sessions, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewinder.log import MessageLog
from rewinder.record import Kind, Stamp
from rewinder.segment import SEGMENT_BYTES_MINIMUM, first_numbers
from rewinder.storage import FileStorage

if TYPE_CHECKING:
    from pathlib import Path

    from rewinder.storage import Storage


def session_field(name: str) -> bytes:
    return name.encode("ascii").ljust(10)


def write_log(
    storage: Storage,
    name: str,
    records: int,
    commit: int,
    *,
    end: bool,
    size: int = 50,
    begin_ns: int = 0,
    step_ns: int = 1,
    segment_bytes: int = SEGMENT_BYTES_MINIMUM,
) -> None:
    """Write a log of so many records, the last of them the end if `end`, and close it."""
    log = MessageLog.create(storage, session_field(name), durability="memory", segment_bytes=segment_bytes)
    for number in range(1, records + 1):
        kind = Kind.END if end and number == records else Kind.DATA
        payload = b"" if kind is Kind.END else b"%s %d" % (name.encode("ascii"), number) + bytes(size)
        log.append(payload, Stamp(begin_ns + number * step_ns, number, b"ALPHA ", kind))
    log.commit = commit
    log.close()


def make_log(directory: Path, name: str, records: int, commit: int | None = None, **how: object) -> Path:
    """The same in the directory of a node; all is committed, and the session ended, unless told otherwise."""
    how.setdefault("end", commit is None)
    write_log(FileStorage(directory / name), name, records, records if commit is None else commit, **how)
    return directory / name


def records_of(directory: Path) -> list[bytes]:
    """All records of a log, as they are in its files."""
    log = MessageLog.open_readonly(FileStorage(directory, writable=False))
    found: list[bytes] = []
    while len(found) < log.last - log.first + 1:
        found += log.messages(log.first + len(found), 4096).payloads()
    log.close()
    return found


def firsts_of(directory: Path) -> list[int]:
    """First numbers of the segments in a directory."""
    return first_numbers([path.name for path in directory.iterdir()])
