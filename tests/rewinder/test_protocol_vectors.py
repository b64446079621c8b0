"""docs/PROTOCOL.md and docs/LOG.md against the code: the tables of packets, and the bytes of the examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rewinder.promise import Promise
from rewinder.record import Kind, Stamp, admission_payload, stamp_record
from rewinder.replication import (
    Answer,
    Committed,
    Epochs,
    Go,
    Held,
    Opened,
    Packet,
    PromiseRequest,
    Query,
    VoterState,
    decode,
    shared_last,
)
from souptcp import SOUPBINTCP, PacketType

DOCS = Path(__file__).parents[2] / "docs"
PROTOCOL = (DOCS / "PROTOCOL.md").read_text(encoding="utf-8")
LOG = (DOCS / "LOG.md").read_text(encoding="utf-8")

INCARNATION = 0x1122334455667788
TABLE = ((1, 1), (3, 7))
ANSWER = Answer(3, "SEQ2", True, INCARNATION, 0, 9, 6, TABLE, hears=True)
ADMITTED = Stamp(1_764_000_000_000_000_000, 0, b"SEQ2  ", int(Kind.ADMIT))


def unsequenced(packet: Packet) -> bytes:
    return bytes(SOUPBINTCP.frame(PacketType.UNSEQUENCED, packet.encode()))


EXAMPLES = {
    "E": unsequenced(Epochs(3, "SEQ2", TABLE)),
    "H": unsequenced(Held(3, 9)),
    "A": unsequenced(ANSWER),
    "S": bytes(
        SOUPBINTCP.frame(
            PacketType.SEQUENCED, stamp_record(admission_payload("REW1", INCARNATION), 9, ADMITTED)
        )
    ),
}

# A packet of each kind, and what its fields are; no two numbers of one packet are alike.
PACKETS: dict[str, tuple[Packet, dict[str, object]]] = {
    "E": (Epochs(3, "SEQ2", TABLE), {"epoch": 3, "owner": "SEQ2", "count": 2, "rows": TABLE}),
    "C": (Committed(3, 9), {"epoch": 3, "number": 9}),
    "G": (Go(3, 9), {"epoch": 3, "number": 9}),
    "H": (Held(3, 9), {"epoch": 3, "number": 9}),
    "V": (VoterState(votes=True, incarnation=7), {"flags": 1, "incarnation": 7}),
    "Q": (Query(), {}),
    "P": (PromiseRequest(3, "SEQ2", 7), {"epoch": 3, "owner": "SEQ2", "incarnation": 7}),
    "A": (
        Answer(4, "SEQ2", False, 7, 5, 9, 8, TABLE, hears=True),
        {
            "flags": 2,
            "epoch": 4,
            "owner": "SEQ2",
            "incarnation": 7,
            "adopted": 5,
            "last": 9,
            "commit": 8,
            "count": 2,
            "rows": TABLE,
        },
    ),
    "O": (Opened(3), {"epoch": 3}),
}

Row = tuple[int, str, str]  # offset, bytes, field


def tables() -> dict[str, list[Row]]:
    """The rows of the table of each kind, by its letter. A section may be about several."""
    found: dict[str, list[Row]] = {}
    for section in re.split(r"^#### ", PROTOCOL, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        rows = re.findall(r"^\| (\d+) \| (\d+(?: each)?) \| (.+) \|$", body.split("\n#")[0], re.MULTILINE)
        for kind in re.findall(r"`([A-Z])` [a-z]+(?:: from|,)", heading):
            found[kind] = [(int(offset), length, text) for offset, length, text in rows]
    return found


def blocks(text: str, after: str) -> str:
    """The first block of code after a line."""
    return text[text.index(after) :].split("```")[1]


def hexadecimal(lines: list[str]) -> bytes:
    return bytes.fromhex(" ".join(lines))


def test_every_kind_has_a_table() -> None:
    assert tables().keys() == PACKETS.keys()


@pytest.mark.parametrize("kind", PACKETS)
def test_the_table_of_a_packet_says_where_each_field_is(kind: str) -> None:
    packet, values = PACKETS[kind]
    data = packet.encode()
    assert decode(data) == packet
    (start, length, text), *rows = tables()[kind]
    assert (start, length) == (0, "1")
    assert f"`{kind}`" in text
    assert data[:1] == kind.encode()
    place = 1
    for offset, length, text in rows:
        name = text.partition(":")[0]
        assert offset == place, name
        if length.endswith(" each"):
            size = int(length.removesuffix(" each"))
            pieces = [data[at : at + size] for at in range(offset, len(data), size)]
            found = tuple(
                (int.from_bytes(each[:8], "big"), int.from_bytes(each[8:], "big")) for each in pieces
            )
            assert found == values[name]
            place = len(data)
            continue
        place += int(length)
        field = data[offset:place]
        value = values[name]
        if isinstance(value, str):
            assert field == value.encode().ljust(6), name
        else:
            assert int.from_bytes(field, "big") == value, name
    assert place == len(data), "the table has all of the packet"
    assert [text.partition(":")[0] for _, _, text in rows] == list(values), "and all of its fields"


def examples() -> dict[str, bytes]:
    """The bytes of the examples, by the letter that stands in front of each."""
    found: dict[str, list[str]] = {}
    kind = ""
    for line in blocks(PROTOCOL, "### Examples").strip("\n").splitlines():
        if line[0] != " ":
            kind = line.split()[0]
            found[kind] = []
        else:
            found[kind].append(line)
    return {kind: hexadecimal(lines) for kind, lines in found.items()}


def test_the_examples_are_what_the_code_sends() -> None:
    assert examples() == EXAMPLES


def test_the_example_of_two_logs_that_fork() -> None:
    logs = []
    for where in ("here", "there"):
        found = re.search(rf"^\| {where} \| (.+?) \| (\d+) \|", PROTOCOL, re.MULTILINE)
        assert found is not None
        rows = re.findall(r"\((\d+), (\d+)\)", found[1])
        logs.append((tuple((int(epoch), int(first)) for epoch, first in rows), int(found[2])))
    (ours, our_last), (theirs, their_last) = logs
    shared = shared_last(list(ours), our_last, theirs, their_last)
    cut = f"share epoch 1 up to {shared}: here {shared + 1} to {our_last} are cut"
    assert f"{cut}, and {shared + 1} to {their_last} are taken" in PROTOCOL


def test_the_example_of_a_promise_is_what_the_code_writes() -> None:
    promise = Promise(INCARNATION, 3, "SEQ2", votes=True)
    written = hexadecimal(blocks(LOG, "Of session DEMO,").splitlines()[1:])
    assert written == promise.encode(b"DEMO      ")
