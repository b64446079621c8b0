"""The examples do what they say. Those that need more are in test_example_*.py, and in tests/examples."""

from __future__ import annotations

import ast
import socket
import struct
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from programs import EXAMPLES, example, running

from moldudp import session_field

if TYPE_CHECKING:
    from bus import Bus

USERS_HAVE = {"seqcast", "moldudp", "souptcp", "numpy", *sys.stdlib_module_names}


def test_sending_and_receiving(bus: Bus) -> None:
    path = str(bus.config_path)
    first = example("send.py", path, "ALPHA", "60")
    assert first == "ALPHA is in the stream up to its message 60, which is record 61\n"
    assert "record 101" in example("send.py", path, "ALPHA", "100")
    said = example("async_app.py", path, "BETA", "50")
    assert said == "messages 1 to 50 of BETA are records 102 to 151\nheard at the same numbers: True\n"
    said = example("async_app.py", path, "BETA", "7")
    assert said == "messages 51 to 57 of BETA are records 152 to 158\nheard at the same numbers: True\n"
    assert bus.run("end-session").returncode == 0
    lines = example("receive.py", path).splitlines()
    assert lines[:100] == [f"{n + 1} ALPHA message {n} of ALPHA" for n in range(1, 101)]
    assert lines[100:] == [
        f"{number} BETA message {n}" for number, n in enumerate([*range(1, 51), *range(1, 8)], start=102)
    ]
    alpha, beta = sum(len(f"message {n} of ALPHA") for n in range(1, 101)), 57 * 9 + 41
    assert example("receive_batches.py", path).startswith(f"157 messages, {alpha + beta} bytes, ")
    pytest.importorskip("numpy")
    assert example("numpy_columns.py", path).splitlines() == [
        f"ALPHA: 100 messages, {alpha} bytes",
        f"BETA: 57 messages, {beta} bytes",
        "157 begin with 'm'",
    ]


def test_the_protocol_libraries_alone() -> None:
    assert example("moldudp_alone.py").endswith("after the re-request: 10 messages, complete: True\n")
    assert example("souptcp_alone.py").splitlines() == [
        "accepted: session EXAMPLE, next 2",
        "from 2: [b'two', b'three']",
        "end of session",
    ]


def packet(number: int, *records: bytes, count: int | None = None) -> bytes:
    blocks = b"".join(struct.pack(">H", len(record)) + record for record in records)
    return (
        struct.pack(">10sQH", session_field("PLAIN"), number, len(records) if count is None else count)
        + blocks
    )


def record(text: bytes, kind: int = 0) -> bytes:
    return text + bytes([kind]) + bytes(27)


def test_the_plain_listener_says_what_it_missed() -> None:
    token = uuid.uuid4().bytes
    group = f"239.{token[0]}.{token[1]}.{token[2] % 254 + 1}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, running() as start:
        probe.bind((group, 0))
        port = probe.getsockname()[1]
        probe.close()
        listener = start("listen_plain.py", group, str(port))
        assert listener.line() == "listening"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            for sent in (
                packet(5, record(b"five"), record(b"", kind=1)),
                packet(9, record(b"nine")),
                packet(8, record(b"eight"), record(b"nine"), record(b"ten")),  # late, and in part known
                packet(13),  # a heartbeat
                packet(13, record(b"thirteen")),
                packet(15, count=0xFFFF),
            ):
                line.sendto(sent, (group, port))
        assert listener.rest() == [
            "5 five", "missed 7 to 8", "9 nine", "10 ten", "missed 11 to 12", "13 thirteen", "missed 14 to 14"
        ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_use_what_users_have_and_say_how_they_are_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
            if node.module in ("seqcast", "moldudp", "souptcp"):
                public = set(__import__(node.module).__all__)
                assert {alias.name for alias in node.names} <= public
    assert {name.partition(".")[0] for name in imported} <= USERS_HAVE
    assert {name for name in imported if "." in name and name.startswith("seqcast")} <= {
        "seqcast.testing",
        "seqcast.itch",
    }
    assert f"python examples/{path.name}" in str(ast.get_docstring(tree))


def test_the_plain_listener_is_short_and_knows_nothing_of_the_bus() -> None:
    text = (EXAMPLES / "listen_plain.py").read_text(encoding="ascii")
    assert len(text.splitlines()) <= 40
    assert text.count("import ") == 3
