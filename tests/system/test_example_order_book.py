"""The order books of examples/order_book.py are equal in every process, however it got the stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from programs import running

from seqcast.itch import generate

if TYPE_CHECKING:
    from pathlib import Path

    from bus import Bus

MESSAGES = 20_000
DIGEST = re.compile(r"(\d+) orders, 1 messages refused, digest [0-9a-f]{64}")


def test_the_digest_is_the_same_live_late_from_rewinders_and_after_a_kill(bus: Bus, tmp_path: Path) -> None:
    config, saved = bus.config_path, tmp_path / "books.saved"
    day = list(generate(MESSAGES, seed=5))
    half = MESSAGES // 2
    with bus.sender() as sender, running() as start:
        live = start("order_book.py", config)
        killed = start("order_book.py", config, "--checkpoint", saved)
        for each in (live, killed):
            assert each.line().endswith("from record 1")
        sender.send_batch(day[:half])
        sender.send(b"not ITCH at all")
        sender.flush()
        assert killed.line().startswith("saved at record ")
        killed.kill()
        late = start("order_book.py", config)
        assert late.line().endswith("from record 1")
        sender.send_batch(day[half:])
        sender.flush()
        again = start("order_book.py", config, "--checkpoint", saved)
        begins = int(again.line().rpartition(" ")[2])
        assert 4000 < begins <= half + 3
        assert bus.run("end-session").returncode == 0
        rewound = start("order_book.py", config, "--rewinders")
        endings = [each.rest()[-2:] for each in (live, late, again, rewound)]
    (digest,) = {digest for _, digest in endings}
    match = DIGEST.fullmatch(digest)
    assert match is not None
    assert int(match[1]) > 50
    counts = [[int(number) for number in re.findall(r"\d+", summary)] for summary, _ in endings]
    assert [delivered for delivered, _ in counts] == [
        MESSAGES + 1, MESSAGES + 1, MESSAGES + 3 - begins, MESSAGES + 1
    ]  # fmt: skip
    assert counts[1][1] > half, "the late one read the first half from a rewinder"
    assert counts[3][1] >= MESSAGES + 1, "without lines everything comes from rewinders"
