"""The demo: small runs of it as real processes, and its parts by themselves."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from click.testing import CliRunner

from native.messages import MessageTable
from seqcast.cli import demo as demo_command
from seqcast.cli import main
from seqcast.demo import children, feed
from seqcast.demo.children import Crew
from seqcast.demo.display import DURABILITIES, Board, show_outcome
from seqcast.demo.feed import Feed, StreamDigest, Supply, prepare
from seqcast.demo.outcome import (
    Outcome,
    ReceiverOutcome,
    SenderOutcome,
    Throughput,
    latencies,
    receiver_failures,
    sender_failures,
    throughput,
)
from seqcast.demo.plan import CHECKPOINT_MESSAGES, DemoError, Plan
from seqcast.demo.receiving import Deliveries, ReceiverOrder
from seqcast.demo.sending import (
    OUTBOX_BYTES,
    RESUMING_OUTBOX_BYTES,
    SenderOrder,
    scheduled_ns,
    send_again_from,
)
from seqcast.errors import SeqcastError
from seqcast.feeds import FeedError
from seqcast.itch import binaryfile, generate
from seqcast.latency import LatencyHistogram

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_SECONDS = 100
MESSAGES = 3_000
COMMAND = "from seqcast.cli.demo import command; command()"


def run_demo(*arguments: str, script: str = COMMAND, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        **options,
    )


# the whole


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What a small run said, and the directory that it kept."""
    directory = tmp_path_factory.mktemp("demo") / "run"
    arguments = ["--messages", str(MESSAGES), "--loss", "0.05", "--seed", "7", "--rate", "2000"]
    done = run_demo(*arguments, "--keep", str(directory), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    return json.loads(line), directory


def test_a_run_delivers_everything_once(kept: tuple[dict[str, Any], Path]) -> None:
    outcome, _ = kept
    digest = hashlib.sha256(binaryfile(MESSAGES, 7)[:-2]).hexdigest()
    assert outcome["ok"] is True
    assert outcome["failures"] == []
    assert outcome["messages"] == MESSAGES
    assert outcome["digest"] == digest
    assert list(outcome["receivers"]) == ["clean", "lossy", "late"]
    for receiver in outcome["receivers"].values():
        assert receiver["messages"] == MESSAGES
        assert receiver["digest"] == digest
        assert receiver["digest_equal"] is True


def test_a_run_loses_packets_and_repairs(kept: tuple[dict[str, Any], Path]) -> None:
    clean, lossy, late = kept[0]["receivers"].values()
    assert lossy["datagrams_lost"] > 0
    assert clean["datagrams_lost"] == late["datagrams_lost"] == 0
    assert clean["messages_lost"] == late["messages_lost"] == 0
    assert lossy["gaps_filled"] + lossy["rewound"] > 0
    assert late["rewound"] > 0  # what was sent before it started


def test_a_run_kills_the_sender_and_drops_what_came_twice(kept: tuple[dict[str, Any], Path]) -> None:
    sender = kept[0]["sender"]
    assert sender["stamped"] == MESSAGES
    assert sender["acknowledged"] >= MESSAGES // 2
    assert sender["resumed_at"] >= sender["acknowledged"] > sender["sent_again_after"]
    assert sender["duplicates"] >= sender["sent_again"] > 0
    assert sender["restart_ns"] > 0


def test_a_run_measures(kept: tuple[dict[str, Any], Path]) -> None:
    outcome, _ = kept
    latency = outcome["latency"]
    assert latency["rate"] == 2000
    assert latency["count"] == Plan(MESSAGES, 2000).paced
    assert 0 < latency["p50_ns"] <= latency["p99_ns"] <= latency["p99.9_ns"] <= latency["max_ns"]
    assert outcome["throughput"]["messages"] == Plan(MESSAGES, 2000).fast
    assert outcome["throughput"]["duration_ns"] > 0
    assert outcome["duration_ns"] > 0
    assert outcome["durability"] in DURABILITIES


def test_what_a_run_keeps(kept: tuple[dict[str, Any], Path]) -> None:
    _, directory = kept
    assert (directory / "seqcast.toml").is_file()
    assert (directory / "input.itch").read_bytes() == binaryfile(MESSAGES, 7)
    assert sorted(path.name for path in (directory / "log").iterdir()) == ["REW1", "SEQ1"]
    logs = {path.name: path.read_text() for path in (directory / "processes").iterdir()}
    assert " ready " in logs["SEQ1.log"]
    names = ("clean-receiver", "lossy-receiver", "late-receiver", "first-sender", "second-sender")
    assert not any(logs[f"{name}.log"] for name in names)


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    done = CliRunner().invoke(main, ["demo", "--keep", str(tmp_path)])
    assert done.exit_code == 2
    assert "is not empty" in done.output


NOISY = """
from seqcast.cli import demo
from seqcast.demo import plan
plan.PACED_SECONDS = 60
demo.Board.stage = lambda self, sentence: print(sentence, flush=True)
demo.command()
"""


@pytest.fixture
def paced(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[int, int]]]:
    """A demo in a session of its own, a minute before its end, with all its processes as {id: pidfd}."""
    process = subprocess.Popen(
        [sys.executable, "-c", NOISY, "--messages", "1000", "--rate", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("sending 1 messages a second"):
            break
    members = {member: os.pidfd_open(member) for member in session_of(process.pid)}
    try:
        yield process, members
    finally:
        for pidfd in members.values():
            os.close(pidfd)
        process.kill()
        process.communicate()


def session_of(leader: int) -> list[int]:
    """Processes of a session, without its leader."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:  # it is gone
            continue
        if int(after_name[3]) == leader and int(path.parent.name) != leader:
            found.append(int(path.parent.name))
    return found


def ended(pidfds: dict[int, int]) -> bool:
    """Wait until all of these processes have ended; False when that takes too long."""
    for pidfd in pidfds.values():
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(20_000):
            return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(
    number: int, paced: tuple[subprocess.Popen[str], dict[int, int]], tmp_path: Path
) -> None:
    process, members = paced
    assert len(members) == 6  # two nodes, three receivers, the second sender
    process.send_signal(number)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 1
    assert complaint.strip() == "Aborted!"
    assert session_of(process.pid) == []
    assert list(tmp_path.iterdir()) == []


def test_no_process_outlives_a_killed_demo(paced: tuple[subprocess.Popen[str], dict[int, int]]) -> None:
    process, members = paced
    process.kill()
    process.wait(timeout=30)
    assert ended(members)


PORT_TAKEN = """
import socket
from seqcast.demo import scenario
from seqcast.demo.display import Board
from seqcast.demo.plan import Demo, DemoError

def configure(directory, configure=scenario.configure):
    global taken
    configuration = configure(directory)
    node = configuration.sequencers[0]
    taken = socket.create_server((node.host, node.submit_port))
    return configuration

scenario.configure = configure
try:
    scenario.run(Demo(messages=1000), Board())
except DemoError as error:
    print(error)
taken.close()
"""


def test_a_node_that_does_not_start_is_named_with_its_log() -> None:
    done = run_demo(script=PORT_TAKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SEQ1 ended with exit status 1; its log ends with:\n")
    assert "in use" in done.stdout


# the processes


def order_for_nobody(directory: Path) -> ReceiverOrder:
    return ReceiverOrder(config=str(directory / "missing.toml"), loss=0, seed=1, held=False, deliveries=None)


def test_a_worker_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    with Crew(tmp_path / "logs") as crew:
        worker = crew.start_worker("clean receiver", "receiver", order_for_nobody(tmp_path))
        with pytest.raises(DemoError) as caught:
            crew.wait(lambda: worker.told("listening"), "the receivers")
    assert str(caught.value).startswith(
        "the clean receiver ended with exit status 1; its log ends with:\n  ConfigError"
    )
    assert "missing.toml" in str(caught.value)
    assert worker.process.returncode == 1


def test_a_killed_worker_is_no_failure(tmp_path: Path) -> None:
    with Crew(tmp_path / "logs") as crew:
        worker = crew.start_worker("late receiver", "receiver", held(tmp_path))
        crew.wait(lambda: worker.told("prepared"), "the receiver")
        worker.kill()
        crew.wait(lambda: worker.ended, "its end")
        assert worker.process.returncode == -signal.SIGKILL


def held(directory: Path) -> ReceiverOrder:
    """An order for a receiver that waits for another one; only then it would need its nodes."""
    path = directory / "seqcast.toml"
    done = run_demo("--dir", str(directory), script="from seqcast.cli.init import command; command()")
    assert done.returncode == 0, done.stderr
    return ReceiverOrder(config=str(path), loss=0, seed=1, held=True, deliveries=None)


def test_a_worker_ends_when_nobody_gives_orders_any_more(tmp_path: Path) -> None:
    with Crew(tmp_path / "logs") as crew:
        worker = crew.start_worker("late receiver", "receiver", held(tmp_path))
        crew.wait(lambda: worker.told("prepared"), "the receiver")
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(30) == 0
        assert worker.log.read_bytes() == b""


def test_a_demo_that_stands_still_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Crew(tmp_path / "logs") as crew:
        worker = crew.start_worker("late receiver", "receiver", held(tmp_path))
        crew.wait(lambda: worker.told("prepared"), "the receiver")
        monkeypatch.setattr(children, "STALL_SECONDS", 0.0)
        with pytest.raises(DemoError, match=r"while waiting for the moon: the late receiver is at 0$"):
            crew.wait(lambda: False, "the moon")


def test_the_crew_leaves_nobody_behind(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), Crew(tmp_path / "logs") as crew:
        worker = crew.start_worker("late receiver", "receiver", held(tmp_path))
        raise KeyboardInterrupt
    assert worker.process.returncode is not None


def test_a_worker_without_a_known_role(tmp_path: Path) -> None:
    with Crew(tmp_path / "logs") as crew:
        worker = crew.start_worker("odd", "juggler", order_for_nobody(tmp_path))
        with pytest.raises(DemoError, match="usage: "):
            crew.wait(lambda: False, "anything")
        assert worker.process.returncode == 1


# the plan


@pytest.mark.parametrize(
    ("messages", "rate", "paced"), [(100_000, 5_000, 10_000), (3_000, 5_000, 600), (1_000, 1, 2)]
)
def test_a_plan(messages: int, rate: int, paced: int) -> None:
    plan = Plan(messages, rate)
    assert plan.paced == paced
    assert plan.fast + plan.paced == messages
    assert plan.half <= plan.fast


def test_a_checkpoint_lies_before_what_is_acknowledged() -> None:
    plan = Plan(100_000, 5_000)
    assert plan.checkpoint(50_000) == 48_000
    assert plan.checkpoint(1) == 0
    assert Plan(1_000, 10).checkpoint(500) == 300


# the input


def messages_of(payloads: list[bytes]) -> Any:
    table = MessageTable(len(payloads))
    offset = 0
    for row, payload in enumerate(payloads):
        table.set(row, row + 1, offset, len(payload))
        offset += len(payload)
    return table.view(memoryview(b"".join(payloads)), len(payloads))


def plain_digest(payloads: list[bytes]) -> str:
    """The digest, as a person would write it down."""
    digest = hashlib.sha256()
    for payload in payloads:
        digest.update(len(payload).to_bytes(2, "big") + payload)
    return digest.hexdigest()


def test_the_digest_is_over_length_and_payload() -> None:
    payloads = list(generate(1_000, 3))
    digest = StreamDigest()
    for start in range(0, 1_000, 300):
        digest.update(messages_of(payloads[start : start + 300]))
    assert digest.count == 1_000
    assert digest.hexdigest() == plain_digest(payloads)


@pytest.mark.parametrize("change", ["order", "twice", "missing", "boundary", "byte"])
def test_the_digest_sees_every_difference(change: str) -> None:
    before = [b"one", b"two", b"three"]
    after = {
        "order": [b"two", b"one", b"three"],
        "twice": [b"one", b"two", b"two", b"three"],
        "missing": [b"one", b"three"],
        "boundary": [b"on", b"etwo", b"three"],
        "byte": [b"one", b"twO", b"three"],
    }[change]
    digests = []
    for payloads in (before, after):
        digest = StreamDigest()
        digest.update(messages_of(payloads))
        digests.append(digest.hexdigest())
    assert digests[0] != digests[1]


def test_a_supply_hands_out_what_is_asked_for() -> None:
    payloads = list(generate(1_000, 3))
    supply = Supply(io.BytesIO(binaryfile(1_000, 3)), "test")
    supply.skip(10)
    assert supply.position == 10
    found = []
    for limit in (1, 7, 500, 10_000):
        batch = supply.take(limit)
        assert batch is not None
        assert len(batch) <= limit
        found += batch.payloads()
    assert found == payloads[10:]
    assert supply.position == 1_000
    assert supply.take(1) is None
    supply.skip(5)
    assert supply.position == 1_000


def test_a_generated_input(tmp_path: Path) -> None:
    heard: list[int] = []
    prepared = prepare(tmp_path, None, 2_000, 5, heard.append)
    assert prepared == Feed(
        tmp_path / "input.itch", 2_000, plain_digest(list(generate(2_000, 5))), "generated day, seed 5"
    )
    assert prepared.path.read_bytes() == binaryfile(2_000, 5)
    assert heard
    assert max(heard) <= 2_000


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("messages", [None, 1_500])
def test_an_input_from_a_file(tmp_path: Path, messages: int | None, packed: bool) -> None:
    source = tmp_path / ("day.itch.gz" if packed else "day.itch")
    data = binaryfile(2_000, 5)
    source.write_bytes(gzip.compress(data) if packed else data)
    expected = list(generate(2_000, 5))[:messages]
    prepared = prepare(tmp_path, source, messages, 1, lambda _count: None)
    assert prepared.messages == len(expected)
    assert prepared.digest == plain_digest(expected)
    assert prepared.source == str(source)
    supply = Supply(io.BytesIO(prepared.path.read_bytes()), "copy")
    found = []
    while (batch := supply.take(100_000)) is not None:
        found += batch.payloads()
    assert found == expected


def test_an_input_of_real_messages(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "nasdaq_itch50_head_35581.itch"
    payloads, data = [], source.read_bytes()
    while data:
        length = int.from_bytes(data[:2], "big")
        if length == 0:
            break
        payloads.append(data[2 : 2 + length])
        data = data[2 + length :]
    prepared = prepare(tmp_path, source, None, 1, lambda _count: None)
    assert prepared.messages == len(payloads) == 35_581
    assert prepared.digest == plain_digest(payloads)


@pytest.mark.parametrize("messages", [None, 1_000])
def test_an_input_that_is_too_short(tmp_path: Path, messages: int | None) -> None:
    source = tmp_path / "day.itch"
    source.write_bytes(binaryfile(999, 5))
    with pytest.raises(DemoError, match="has 999 messages, fewer than 1,000"):
        prepare(tmp_path, source, messages, 1, lambda _count: None)


def test_an_input_that_is_too_long_wants_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MESSAGES_MOST", 1_500)
    source = tmp_path / "day.itch"
    source.write_bytes(binaryfile(1_501, 5))
    with pytest.raises(DemoError, match="say how many"):
        prepare(tmp_path, source, None, 1, lambda _count: None)
    assert prepare(tmp_path, source, 1_500, 1, lambda _count: None).messages == 1_500


def test_an_input_of_long_messages_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "long"
    source.write_bytes(b"\x01\x00" + bytes(256))
    with pytest.raises(FeedError, match="limit of 255"):
        prepare(tmp_path, source, None, 1, lambda _count: None)


# the sender


def test_a_timetable() -> None:
    assert [scheduled_ns(5, position, 3) for position in range(4)] == [
        5,
        333_333_338,
        666_666_671,
        1_000_000_005,
    ]


def test_a_sender_has_room_for_what_it_sends_again() -> None:
    # The frame of the outbox: length (2), type (1), sender sequence (8), flags (1).
    assert OUTBOX_BYTES + CHECKPOINT_MESSAGES * (feed.MESSAGE_LIMIT_BYTES + 12) < RESUMING_OUTBOX_BYTES


class KnownSender:
    """As much of a sender as `send_again_from` needs."""

    def __init__(self, resumed_at: int) -> None:
        self.resumed_at = resumed_at
        self.began: list[int] = []
        self.submission = self.outbox = self

    def begin(self, sequence: int) -> None:
        self.began.append(sequence)


def test_a_sender_goes_on_at_its_checkpoint() -> None:
    sender: Any = KnownSender(resumed_at=100)
    send_again_from(sender, 40)
    assert sender.began == [41]


def test_a_stream_that_lost_what_was_acknowledged_is_noticed() -> None:
    sender: Any = KnownSender(resumed_at=39)
    with pytest.raises(SeqcastError, match="40 messages were acknowledged, but the sequencer has 39"):
        send_again_from(sender, 40)
    assert sender.began == []


def test_orders_travel_as_json(tmp_path: Path) -> None:
    order = SenderOrder(config="c", feed="f", acknowledged=None, fast=1, messages=2, rate=3)
    assert SenderOrder(**json.loads(json.dumps(children.asdict(order)))) == order


# the measurements


def test_deliveries_survive_a_file(tmp_path: Path) -> None:
    deliveries = Deliveries()
    deliveries.note(1, 10, 1_000)
    deliveries.note(11, 1, 2**63)
    deliveries.write(tmp_path / "file")
    assert Deliveries.read(tmp_path / "file").batches() == [(1, 10, 1_000), (11, 1, 2**63)]


def test_throughput_leaves_out_the_pause_between_the_senders() -> None:
    batches = [
        (1, 10, 1_000_000_000),
        (11, 40, 1_100_000_000),
        (51, 50, 1_200_000_000),
        (101, 5, 9_000_000_000),
        (106, 95, 9_300_000_000),
        (201, 100, 20_000_000_000),
    ]
    measured = throughput(batches, [(900_000_000, 1, 100), (8_800_000_000, 101, 200)])
    assert measured == Throughput(200, 300_000_000 + 500_000_000)
    assert measured.rate == 250.0


def test_throughput_of_nothing_is_not_known() -> None:
    assert throughput([], [(0, 1, 0), (0, 1, 100)]) == Throughput(0, 0)
    assert throughput([(1, 100, 5)], [(4, 1, 100)]).rate is None
    assert Throughput(1_000, 9_999_999).rate is None


def test_latency_counts_from_the_timetable() -> None:
    # 1,000 a second from 5 ms on: message 11 is due at 5 ms, 12 at 6 ms, 13 at 7 ms, 14 at 8 ms.
    batches = [(9, 3, 5_000_100), (12, 3, 9_000_000)]
    histogram = latencies(batches, 11, 5_000_000, 1_000)
    assert histogram.count == 4
    assert histogram.min_ns == 100
    assert histogram.max_ns == 3_000_000
    assert histogram.total_ns == 100 + 3_000_000 + 2_000_000 + 1_000_000


# the judgement

FEED = Feed(Path("input.itch"), 3_000, "ab" * 32, "generated day, seed 1")
GOOD_RECEIVER = ReceiverOutcome(
    name="late",
    messages=3_000,
    digest="ab" * 32,
    datagrams_lost=1,
    messages_lost=20,
    gaps_filled=2,
    replies=3,
    rewound=4,
    duplicates_dropped=5,
)
GOOD_SENDER = SenderOutcome(
    acknowledged=1_600,
    resumed_at=1_700,
    sent_again_after=1_000,
    duplicates=700,
    stamped=3_000,
    restart_ns=200_000_000,
)


def outcome_of(**changes: Any) -> Outcome:
    latency = LatencyHistogram()
    latency.record_many([1_000_000, 2_000_000])
    values: dict[str, Any] = {
        "feed": FEED,
        "plan": Plan(3_000, 5_000),
        "durability": "group",
        "receivers": tuple(evolve(GOOD_RECEIVER, name=name) for name in ("clean", "lossy", "late")),
        "sender": GOOD_SENDER,
        "throughput": Throughput(1_000, 100_000_000),
        "latency": latency,
        "duration_ns": 1_500_000_000,
    }
    return Outcome(**{**values, **changes})


def test_a_good_outcome_has_no_failures() -> None:
    assert receiver_failures(GOOD_RECEIVER, FEED) == []
    assert sender_failures(GOOD_SENDER, FEED) == []
    assert outcome_of().failures() == []
    assert outcome_of().as_plain()["ok"] is True


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"messages": 2_999}, "the late receiver got 2,999 messages, the input has 3,000"),
        (
            {"digest": "cd" * 32},
            f"the digest of the late receiver is {'cd' * 32}, that of the input {'ab' * 32}",
        ),
    ],
)
def test_a_receiver_that_differs_is_a_failure(changes: dict[str, Any], sentence: str) -> None:
    assert receiver_failures(evolve(GOOD_RECEIVER, **changes), FEED) == [sentence]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stamped": 3_001}, "the sequencer stamped 3,001 messages, the input has 3,000"),
        (
            {"resumed_at": 1_599, "sent_again_after": 1_599},
            "1,600 messages were acknowledged before the sender was killed, but the stream had only 1,599",
        ),
        ({"duplicates": 699}, "700 messages were sent twice, but the sequencer dropped only 699"),
    ],
)
def test_what_the_sequencer_got_wrong_is_a_failure(changes: dict[str, Any], sentence: str) -> None:
    assert sender_failures(evolve(GOOD_SENDER, **changes), FEED) == [sentence]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_digest_that_differs_makes_exit_status_1(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    wrong = outcome_of(receivers=(evolve(GOOD_RECEIVER, digest="cd" * 32),))
    monkeypatch.setattr(demo_command, "run", lambda _demo, _watcher: wrong)
    done = CliRunner().invoke(main, ["demo", *(["--json"] if as_json else [])])
    assert done.exit_code == 1
    if as_json:
        plain = json.loads(done.stdout)
        assert plain["ok"] is False
        assert plain["receivers"]["late"]["digest_equal"] is False
        assert len(plain["failures"]) == 1
    else:
        assert "WRONG: the digest of the late receiver" in done.stdout
        assert "OK:" not in done.stdout


def test_a_good_outcome_makes_exit_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_command, "run", lambda _demo, _watcher: outcome_of())
    assert CliRunner().invoke(main, ["demo"]).exit_code == 0


def test_the_settings_of_the_command_reach_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[Any] = []

    def run(demo: Any, _watcher: Any) -> Outcome:
        found.append(demo)
        return outcome_of()

    monkeypatch.setattr(demo_command, "run", run)
    source = tmp_path / "day.itch"
    source.touch()
    arguments = ["--messages", "2000", "--itch", str(source), "--loss", "0.5", "--seed", "9", "--rate", "7"]
    assert CliRunner().invoke(main, ["demo", *arguments]).exit_code == 0
    (demo,) = found
    assert demo == demo_command.Demo(messages=2_000, source=source, loss=0.5, seed=9, rate=7)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--messages", "999"],
        ["--messages", "10000001"],
        ["--loss", "-0.1"],
        ["--loss", "0.51"],
        ["--rate", "0"],
        ["--itch", "nowhere.itch"],
    ],
)
def test_settings_out_of_range_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["demo", *arguments]).exit_code == 2


def test_the_table_says_what_was_measured() -> None:
    stream = io.StringIO()
    show_outcome(outcome_of(), stream)
    text = stream.getvalue()
    for part in ("3,000", "abababababab", "clean", "lossy", "late", "700", "10,000", "2.00 ms", "OK:"):
        assert part in text
    assert "WRONG" not in text
    assert max(map(len, text.splitlines())) <= 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Board(quiet=quiet) as board:
        board.stage("sending at full speed")
        board.show("lossy", 1_234, 2_000)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    if quiet:
        assert shown == ""
    else:
        assert "sending at full speed" in shown
        assert "1,234 of 2,000" in shown
