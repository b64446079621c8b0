"""Feeds: formats in and out, against vectors, a plain-Python oracle, and real files."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace

import oracle_feeds as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqcast import feeds
from seqcast.feeds import FeedError, FeedReader, FeedWriter, StampColumns, open_input

REAL_FILES = {"nasdaq_itch50_head_35581.itch": 35_581, "synthetic_itch50_12012.itch": 12_012}

MESSAGES = [b"hello", b"x", bytes(range(256)), b"\n", b"\x00\x00", b"last"]
# BinaryFILE 1.00: big-endian length, message; length 0 ends the session.
GOLDEN = bytes.fromhex("0005 68656c6c6f 0001 78 0003 00000a 0000")
GOLDEN_MESSAGES = [b"hello", b"x", b"\x00\x00\n"]


class Dribble(io.RawIOBase):
    """An unbuffered stream that gives, and takes, a few bytes at a time."""

    def __init__(self, data: bytes = b"", step: int = 1) -> None:
        self.data = data
        self.given = 0
        self.taken = bytearray()
        self.step = step

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        piece = self.data[self.given : self.given + min(self.step, len(buffer))]
        buffer[: len(piece)] = piece
        self.given += len(piece)
        return len(piece)

    def write(self, data) -> int:
        piece = bytes(data[: self.step])
        self.taken += piece
        return len(piece)


def read_all(stream, form="binaryfile", **options) -> list[bytes]:
    return [payload for batch in FeedReader(stream, form, **options) for payload in batch.payloads()]


def read_bytes(data: bytes, form="binaryfile", **options) -> list[bytes]:
    return read_all(io.BytesIO(data), form, **options)


def read_until_error(reader: FeedReader) -> tuple[list[bytes], FeedError | None]:
    found: list[bytes] = []
    try:
        for batch in reader:
            found += batch.payloads()
    except FeedError as error:
        return found, error
    return found, None


def incompressible(length: int, seed: int) -> bytes:
    return Random(seed).randbytes(length)


def batches_of(messages: list[bytes]):
    return FeedReader(io.BytesIO(oracle.binaryfile(messages)), "binaryfile")


def write_bytes(messages: list[bytes], form: str, **options) -> bytes:
    out = io.BytesIO()
    writer = FeedWriter(out, form, **options)
    for batch in batches_of(messages):
        writer.write(batch)
    assert writer.count == len(messages)
    assert writer.position == len(out.getvalue())
    return out.getvalue()


# Reading BinaryFILE


def test_binaryfile_golden_vector():
    reader = FeedReader(io.BytesIO(GOLDEN), "binaryfile")
    assert not reader.ended
    batch = next(reader)
    assert batch.payloads() == GOLDEN_MESSAGES
    assert batch.numbers == [0, 0, 0]
    assert reader.ended  # with the batch before the marker, not one turn later
    assert list(reader) == []
    assert list(reader) == []
    assert (reader.count, reader.position) == (3, len(GOLDEN))


@pytest.mark.parametrize("batch_messages", [1, 2, 3, 100])
def test_binaryfile_every_chunk_size(batch_messages):
    data = oracle.binaryfile(MESSAGES)
    for chunk_bytes in range(1, len(data) + 2):
        options = {"chunk_bytes": chunk_bytes, "batch_messages": batch_messages}
        assert read_bytes(data, **options) == MESSAGES


@pytest.mark.parametrize("form", feeds.INPUT_FORMATS)
def test_any_cut_of_the_stream_reads_the_same(form):
    data = oracle.binaryfile(MESSAGES) if form == "binaryfile" else b"one\n\ntwo\r\nthree\n"
    expected = read_bytes(data, form)
    for step in range(1, len(data) + 1):
        assert read_all(Dribble(data, step), form) == expected
        assert read_all(Dribble(data, step), form, chunk_bytes=7) == expected


def test_binaryfile_every_truncation_names_file_message_and_byte():
    data = oracle.binaryfile(MESSAGES)
    for length in range(len(data)):
        expected, position, end = oracle.split_binaryfile(data[:length])
        reader = FeedReader(io.BytesIO(data[:length]), "binaryfile", name="day.itch", chunk_bytes=16)
        found, error = read_until_error(reader)
        assert found == expected
        assert not reader.ended
        if end == "":
            assert error is None  # a file that stops between messages lacks the marker, no more
            continue
        assert (error.name, error.number, error.position) == ("day.itch", len(expected) + 1, position)
        assert str(error).startswith(f"day.itch: message {len(expected) + 1} at byte {position}: cut off")
        assert f" {length - position} bytes" in str(error)
        with pytest.raises(FeedError):  # and so again, if it is asked again
            next(reader)


def test_binaryfile_bytes_after_the_marker_are_an_error():
    for chunk_bytes in range(1, 40):
        reader = FeedReader(io.BytesIO(GOLDEN + b"\x00\x01y"), "binaryfile", chunk_bytes=chunk_bytes)
        found, error = read_until_error(reader)
        assert found == GOLDEN_MESSAGES
        assert reader.ended
        assert "after the end-of-session marker" in str(error)
        assert error.position == len(GOLDEN)


def test_binaryfile_message_limit():
    for chunk_bytes in range(1, 20):
        reader = FeedReader(io.BytesIO(GOLDEN), "binaryfile", message_limit=4, chunk_bytes=chunk_bytes)
        with pytest.raises(FeedError, match="message 1 at byte 0: longer than the limit of 4 bytes"):
            next(reader)
    assert read_bytes(GOLDEN, message_limit=5) == GOLDEN_MESSAGES


def test_binaryfile_of_nothing_and_of_the_marker_alone():
    reader = FeedReader(io.BytesIO(b""), "binaryfile")
    assert list(reader) == []
    assert not reader.ended
    reader = FeedReader(io.BytesIO(b"\x00\x00"), "binaryfile")
    assert list(reader) == []
    assert reader.ended


def test_binaryfile_largest_message():
    messages = [bytes(65535), b"x"]
    assert read_bytes(oracle.binaryfile(messages)) == messages
    assert read_bytes(oracle.binaryfile(messages), chunk_bytes=1000) == messages


# Reading lines


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\ntwo", [b"one", b"two"]),
        (b"one\r\n\r\ntwo\r", [b"one\r", b"\r", b"two\r"]),
        (b"\n\n\x00\xff\n", [b"", b"", b"\x00\xff"]),
    ],
)
def test_lines(data, expected):
    for chunk_bytes in range(1, len(data) + 2):
        for batch_messages in (1, 2, 100):
            options = {"chunk_bytes": chunk_bytes, "batch_messages": batch_messages}
            assert read_bytes(data, "lines", **options) == expected


def test_lines_have_no_end_of_session():
    reader = FeedReader(io.BytesIO(b"one\n\n"), "lines")
    assert [len(batch) for batch in reader] == [2]
    assert not reader.ended


def test_line_longer_than_the_limit():
    for chunk_bytes in range(1, 20):
        for data in (b"ab\nabcd\nx\n", b"ab\nabcd"):
            reader = FeedReader(
                io.BytesIO(data), "lines", name="in", message_limit=3, chunk_bytes=chunk_bytes
            )
            found, error = read_until_error(reader)
            assert found == [b"ab"]
            assert str(error) == "in: message 2 at byte 3: longer than the limit of 3 bytes"
        assert read_bytes(b"ab\nabcd", "lines", message_limit=4, chunk_bytes=chunk_bytes) == [b"ab", b"abcd"]


def test_endless_line_takes_bounded_memory():
    stream = Dribble(bytes(10_000_000), 1 << 16)
    with pytest.raises(FeedError, match="longer than the limit of 100000 bytes"):
        next(FeedReader(stream, "lines", message_limit=100_000, chunk_bytes=1024))
    assert stream.given <= 2 * 100_000


def test_a_pipe_is_read_as_data_comes():
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stream, os.fdopen(write_end, "wb", buffering=0) as feeder:
        reader = FeedReader(stream, "lines")
        feeder.write(b"one\ntwo\nthr")
        assert next(reader).payloads() == [b"one", b"two"]
        feeder.write(b"ee\n")
        assert next(reader).payloads() == [b"three"]
        assert (reader.total_bytes, reader.position) == (None, 14)
        feeder.close()
        assert list(reader) == []


def test_a_pipe_that_stays_open_shows_its_end_of_session():
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stream, os.fdopen(write_end, "wb", buffering=0) as feeder:
        reader = FeedReader(stream, "binaryfile")
        feeder.write(GOLDEN)
        assert len(next(reader)) == 3
        assert reader.ended
        feeder.close()


def test_a_stream_that_would_block_is_refused():
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with os.fdopen(write_end, "wb"), os.fdopen(read_end, "rb", buffering=0) as stream:
        reader = FeedReader(stream, "lines")
        with pytest.raises(BlockingIOError, match="blocking stream"):
            next(reader)


def test_a_reader_in_a_reference_cycle_is_collected():
    """CPython before 3.11.9 crashes here when a memoryview of the cycle is still exported (gh-77894)."""
    reader = FeedReader(io.BytesIO(GOLDEN), "binaryfile")
    cycle = {"reader": reader, "batch": next(reader)}
    cycle["self"] = cycle
    del reader, cycle
    gc.collect()


# Files


def test_open_input_and_progress(tmp_path):
    path = tmp_path / "day.itch"
    path.write_bytes(GOLDEN)
    with open_input(path) as stream:
        reader = FeedReader(stream, "binaryfile", batch_messages=1)
        assert reader.name == str(path)
        assert reader.total_bytes == len(GOLDEN)
        positions = [reader.position for _ in reader]
    assert positions == [7, 10, 15]
    assert reader.position == len(GOLDEN)


def test_reading_from_the_middle_counts_bytes_from_the_start(tmp_path):
    path = tmp_path / "day.itch"
    path.write_bytes(GOLDEN[:-4])
    with open_input(str(path)) as stream:
        stream.seek(7)
        reader = FeedReader(stream, "binaryfile")
        found, error = read_until_error(reader)
    assert found == [b"x"]
    assert error.position == 10


def test_open_input_unpacks_gzip(tmp_path):
    messages = [incompressible(40, seed) for seed in range(20_000)]
    data = oracle.binaryfile(messages)
    path = tmp_path / "day.itch.gz"
    path.write_bytes(gzip.compress(data[:400_000], 1) + gzip.compress(data[400_000:], 1))
    with open_input(path) as stream:
        reader = FeedReader(stream, "binaryfile")
        assert reader.name == str(path)
        assert reader.total_bytes == path.stat().st_size
        positions = [reader.position]
        found: list[bytes] = []
        for batch in reader:
            assert len(batch) > 1000 or len(found) + len(batch) == len(messages)  # whole chunks, not crumbs
            found += batch.payloads()
            positions.append(reader.position)
    assert found == messages
    assert positions == sorted(positions)
    assert positions[-1] == reader.total_bytes


@pytest.mark.parametrize("damage", ["cut", "checksum", "garbage", "header"])
def test_damaged_gzip_says_so(tmp_path, damage):
    packed = bytearray(gzip.compress(oracle.binaryfile([incompressible(40, seed) for seed in range(5_000)])))
    if damage == "cut":
        del packed[-1000:]
    elif damage == "checksum":
        packed[-6] ^= 1
    elif damage == "garbage":
        packed[1000:2000] = bytes(1000)
    else:
        packed[0] = 0
    path = tmp_path / "day.itch.gz"
    path.write_bytes(packed)
    with open_input(path) as stream:
        _, error = read_until_error(FeedReader(stream, "binaryfile"))
    assert str(error).startswith(f"{path}: message ")
    assert "damaged gzip data" in str(error)


def test_open_input_dash_is_the_standard_input(monkeypatch):
    stream = io.BytesIO(b"one\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    assert open_input("-") is stream


def test_open_input_of_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_input(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        open_input(tmp_path / "none.gz")


def test_names_of_streams(tmp_path):
    assert FeedReader(io.BytesIO(), "lines").name == "<stream>"
    assert FeedWriter(io.BytesIO(), "lines", name="out").name == "out"
    with os.fdopen(os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT), "rb") as stream:
        assert FeedReader(stream, "lines").name == f"<file descriptor {stream.fileno()}>"


def test_caller_errors():
    for option in ({"message_limit": 0}, {"chunk_bytes": 0}, {"batch_messages": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            FeedReader(io.BytesIO(), "lines", **option)
    with pytest.raises(ValueError, match="at least 1"):
        FeedWriter(io.BytesIO(), "lines", chunk_bytes=0)
    with pytest.raises(ValueError, match="no input format 'json': one of binaryfile, lines"):
        FeedReader(io.BytesIO(), "json")
    with pytest.raises(ValueError, match="no output format 'xml': one of binaryfile, lines, json, hex"):
        FeedWriter(io.BytesIO(), "xml")


# Writing


def test_write_binaryfile_golden_vector():
    out = io.BytesIO()
    writer = FeedWriter(out, "binaryfile")
    for batch in batches_of(GOLDEN_MESSAGES):
        writer.write(batch)
    assert out.getvalue() == GOLDEN[:-2]
    writer.end()
    assert out.getvalue() == GOLDEN
    assert (writer.count, writer.position) == (3, len(GOLDEN))


def test_write_lines_and_hex():
    assert write_bytes([b"one", b"two\r", b"\x00\xff"], "lines") == b"one\ntwo\r\n\x00\xff\n"
    assert write_bytes([b"one", b"\n", b"\x00\xff"], "hex") == b"6f6e65\n0a\n00ff\n"


@pytest.mark.parametrize("form", ["lines", "json", "hex"])
def test_end_of_session_leaves_no_trace_in_other_formats(form):
    out = io.BytesIO()
    FeedWriter(out, form).end()
    assert out.getvalue() == b""


@pytest.mark.parametrize("form", ["binaryfile", "lines", "hex"])
def test_write_with_any_buffer_and_to_a_stream_that_takes_little(form):
    messages = [b"hello", b"x", b"y" * 300, b"last"]
    expected = write_bytes(messages, form)
    for chunk_bytes in (1, 2, 3, 7, 8, 50, 600, 601):
        assert write_bytes(messages, form, chunk_bytes=chunk_bytes) == expected
    for step in (1, 3, 1000):
        stream = Dribble(step=step)
        writer = FeedWriter(stream, form)
        for batch in batches_of(messages):
            writer.write(batch)
        assert stream.taken == expected


def test_what_a_format_cannot_carry_is_refused_after_the_rest_is_written():
    empty = next(FeedReader(io.BytesIO(b"one\n\ntwo\n"), "lines"))
    out = io.BytesIO()
    with pytest.raises(FeedError, match="out: message 2 at byte 5: an empty message would read as the end"):
        FeedWriter(out, "binaryfile", name="out").write(empty)
    assert out.getvalue() == b"\x00\x03one"

    long = next(FeedReader(io.BytesIO(b"one\n" + bytes(65536) + b"\n"), "lines"))
    out = io.BytesIO()
    with pytest.raises(FeedError, match="out: message 2 at byte 5: a message has at most 65535 bytes"):
        FeedWriter(out, "binaryfile", name="out").write(long)
    assert out.getvalue() == b"\x00\x03one"

    out = io.BytesIO()
    with pytest.raises(FeedError, match="out: message 2 at byte 2: a message that holds a line feed"):
        FeedWriter(out, "lines", name="out").write(next(batches_of([b"a", b"b\nc"])))
    assert out.getvalue() == b"a\n"


def test_lines_written_back_gain_only_the_last_line_feed():
    for data, expected in ((b"a\r\n\nb\n", b"a\r\n\nb\n"), (b"a\r\n\nb", b"a\r\n\nb\n")):
        assert rewrite(data, "lines", 100) == expected


def test_write_json_without_stamps():
    lines = write_bytes([b'say "hi" \\', b"\xff\x00", b"tab\t", b"~"], "json").decode("ascii").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"number": 0, "payload": 'say "hi" \\'},
        {"number": 0, "payload_hex": "ff00"},
        {"number": 0, "payload_hex": "74616209"},
        {"number": 0, "payload": "~"},
    ]


def test_write_json_with_stamps():
    batch = next(FeedReader(io.BytesIO(b"hello\n\n"), "lines"))
    columns = StampColumns(
        numbers=[7, 8],
        senders=["ALICE", "BOB"],
        sender_sequences=[1, 2**64 - 1],
        times_ns=[1_700_000_000_000_000_000, 1_700_000_000_000_000_001],
        kinds=[0, 2],
    )
    out = io.BytesIO()
    writer = FeedWriter(out, "json")
    writer.write(batch, columns)
    assert out.getvalue().decode("ascii").splitlines() == [
        '{"number": 7, "sender": "ALICE", "sender_sequence": 1, "time_ns": 1700000000000000000, "kind": 0, '
        '"payload": "hello"}',
        '{"number": 8, "sender": "BOB", "sender_sequence": 18446744073709551615, '
        '"time_ns": 1700000000000000001, "kind": 2, "payload": ""}',
    ]
    assert (writer.count, writer.position) == (2, len(out.getvalue()))


def test_stamps_of_another_length_write_nothing():
    batch = next(FeedReader(io.BytesIO(b"a\nb\n"), "lines"))
    out = io.BytesIO()
    with pytest.raises(ValueError, match="one entry for each of the 2 messages"):
        FeedWriter(out, "json").write(batch, StampColumns([1, 2], ["A"], [1, 2], [1, 2], [0, 0]))
    assert out.getvalue() == b""


# Properties


def rewrite(data: bytes, form: str, chunk_bytes: int) -> bytes:
    out = io.BytesIO()
    reader = FeedReader(io.BytesIO(data), form, chunk_bytes=chunk_bytes)
    writer = FeedWriter(out, form, chunk_bytes=chunk_bytes)
    for batch in reader:
        writer.write(batch)
    if reader.ended:
        writer.end()
    return out.getvalue()


@settings(max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=30), st.booleans(), st.integers(1, 200))
def test_binaryfile_is_rewritten_byte_identically(messages, ended, chunk_bytes):
    data = oracle.binaryfile(messages, ended=ended)
    assert rewrite(data, "binaryfile", chunk_bytes) == data
    assert read_bytes(data, chunk_bytes=chunk_bytes) == messages


@settings(max_examples=200)
@given(st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", b"\x00"]), max_size=60), st.integers(1, 60))
def test_lines_are_rewritten_byte_identically(pieces, chunk_bytes):
    data = b"".join([*pieces, b"\n"])
    assert rewrite(data, "lines", chunk_bytes) == data


# Small bytes make plausible lengths, so that random bytes hold messages.
soup = st.lists(st.integers(0, 4) | st.sampled_from([10, 255]), max_size=80).map(bytes)


@settings(max_examples=300)
@given(soup, st.integers(1, 300), st.integers(1, 40), st.integers(1, 5))
def test_any_bytes_read_as_the_oracle_reads_them(data, limit, chunk_bytes, batch_messages):
    for form, (expected, position, end) in (
        ("binaryfile", oracle.split_binaryfile(data, limit)),
        ("lines", oracle.split_lines(data, limit)),
    ):
        reader = FeedReader(
            io.BytesIO(data),
            form,
            message_limit=limit,
            chunk_bytes=chunk_bytes,
            batch_messages=batch_messages,
        )
        found, error = read_until_error(reader)
        assert found == expected
        assert reader.count == len(expected)
        assert reader.position == position
        assert reader.ended == (end in {"ended", "trailing"})
        assert (error is None) == (end in {"", "ended"})
        words = {"cut": "cut off", "long": "longer than", "trailing": "after the end"}
        assert error is None or words[end] in str(error)


# Real files


@pytest.fixture(params=sorted(REAL_FILES))
def real_file(request, shared_data) -> Path:
    return shared_data / request.param


def test_real_files_are_rewritten_byte_identically(real_file):
    with open_input(real_file) as stream:
        reader = FeedReader(stream, "binaryfile")
        out = io.BytesIO()
        writer = FeedWriter(out, "binaryfile")
        for batch in reader:
            writer.write(batch)
    assert not reader.ended  # these files were cut out of larger ones
    assert reader.count == writer.count == REAL_FILES[real_file.name]
    assert out.getvalue() == real_file.read_bytes()


def test_real_files_read_as_the_oracle_reads_them(real_file):
    data = real_file.read_bytes()
    expected, _, end = oracle.split_binaryfile(data)
    assert end == ""
    assert read_bytes(data, chunk_bytes=4096) == expected
