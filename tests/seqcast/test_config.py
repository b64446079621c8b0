"""The configuration: what is accepted, what follows from it, and one clear sentence for everything else."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewinder.pump import Idle
from seqcast import template
from seqcast.config import (
    ConfigError,
    Durability,
    NodeRole,
    find_configuration,
    parse_configuration,
    read_configuration,
)
from seqcast.settings import PLACE_KEYS, PORT_KEYS, TABLES

PATH = Path("/etc/bus/seqcast.toml")

MINIMAL = """
session = "DEMO"
[multicast]
group = "239.192.7.1"
port = 30000
[access]
open = true
[nodes.SEQ1]
role = "sequencer"
node_port = 30001
submit_port = 30002
[nodes.REW1]
role = "rewinder"
node_port = 30003
replay_port = 30004
"""


def changed(old: str, new: str, text: str = MINIMAL) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def parse(text: str):
    return parse_configuration(text, PATH)


def test_defaults():
    configuration = parse(MINIMAL)
    assert configuration.session == "DEMO"
    assert configuration.session_field == b"DEMO      "
    assert [(line.group, line.port) for line in configuration.multicast.lines] == [("239.192.7.1", 30000)]
    assert (configuration.multicast.interface, configuration.multicast.ttl) == ("127.0.0.1", 1)
    assert configuration.multicast.datagram_bytes == 1472
    assert configuration.log.directory == Path("/etc/bus/log")
    assert configuration.log.segment_bytes == 64 << 20
    assert configuration.log.durability is Durability.MEMORY
    assert (configuration.timing.heartbeat_ns, configuration.timing.suspect_ns) == (10**9, 10**9)
    assert configuration.timing.node_heartbeat_ns == 200_000_000
    assert configuration.receiver.reorder_delay_ns == 1_000_000
    assert [node.name for node in configuration.voters] == ["SEQ1"]
    assert configuration.node("rew1").host == "127.0.0.1"
    assert configuration.node("REW1").ports == {"node_port": 30003, "replay_port": 30004}
    assert [node.role for node in configuration.sequencers] == [NodeRole.SEQUENCER]
    assert [node.role for node in configuration.rewinders] == [NodeRole.REWINDER]


def test_paths_are_relative_to_the_file():
    text = changed("open = true", 'users = "etc/users"\nnode_secret = "/run/secret"')
    configuration = parse(text + '[log]\ndirectory = "../log"\n')
    assert configuration.log.directory == Path("/etc/bus/../log")
    assert configuration.access.users == Path("/etc/bus/etc/users")
    assert configuration.access.node_secret == Path("/run/secret")
    assert configuration.node_directory("seq1") == Path("/etc/bus/../log/SEQ1")
    assert configuration.control_path("REW1") == Path("/etc/bus/../log/REW1/control.sock")


def test_suspicion_has_nothing_to_do_with_the_heartbeats_of_the_lines():
    timing = parse(changed("[access]", "[timing]\nheartbeat_ms = 10000\nsuspect_ms = 50\n[access]")).timing
    assert (timing.heartbeat_ns, timing.suspect_ns) == (10**10, 50_000_000)
    assert timing.node_heartbeat_ns == 10_000_000


def test_two_lines():
    text = changed("port = 30000", 'port = 30000\ngroup_b = "239.192.7.1"\nport_b = 30010')
    assert [(line.group, line.port) for line in parse(text).multicast.lines] == [
        ("239.192.7.1", 30000),
        ("239.192.7.1", 30010),
    ]


@pytest.mark.parametrize(
    ("sequencers", "voting_rewinders", "write_quorum", "seal_quorum"),
    [(1, 0, 1, 1), (2, 0, 2, 1), (1, 1, 2, 1), (2, 1, 2, 2), (2, 2, 3, 2), (2, 3, 3, 3), (2, 5, 4, 4)],
)
def test_quorums(sequencers, voting_rewinders, write_quorum, seal_quorum):
    """DESIGN section 4: W = N // 2 + 1, R = N - W + 1, so that any two quorums share a voter."""
    text = 'session = "DEMO"\n[multicast]\ngroup = "239.192.7.1"\nport = 29999\n[access]\nopen = true\n'
    port = 30000
    for number in range(sequencers):
        text += f'[nodes.SEQ{number}]\nrole = "sequencer"\nnode_port = {port}\nsubmit_port = {port + 1}\n'
        port += 2
    for number in range(voting_rewinders + 1):
        text += f'[nodes.REW{number}]\nrole = "rewinder"\nnode_port = {port}\nreplay_port = {port + 1}\n'
        text += f"voter = {'true' if number < voting_rewinders else 'false'}\n"
        port += 2
    configuration = parse(text)
    voters = sequencers + voting_rewinders
    assert len(configuration.voters) == voters
    assert (configuration.write_quorum, configuration.seal_quorum) == (write_quorum, seal_quorum)
    assert write_quorum + seal_quorum > voters
    assert 2 * write_quorum > voters


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('session = "DEMO"', "", "session: is missing"),
        ('"DEMO"', '""', 'session = "": must not be blank and must not hold control characters'),
        ('"DEMO"', '"ELEVENCHARS"', 'session = "ELEVENCHARS": must be 1 to 10 ASCII letters or digits'),
        ('"DEMO"', '"D MO"', 'session = "D MO": must be 1 to 10 ASCII letters or digits'),
        ('"DEMO"', '"DÉMO"', 'session = "DÉMO": must be 1 to 10 ASCII letters or digits'),
        ('"DEMO"', "7", "session = 7: must be text, in quotes"),
        (
            'session = "DEMO"',
            'sesion = "DEMO"\nsession = "A"',
            'sesion = "DEMO": no such key; did you mean session?',
        ),
        ('session = "DEMO"', 'session = "A"\nlog = 7', "log = 7: must be a table"),
        ('session = "DEMO"', 'session = "A"\n"x\\ny" = 7', r"'x\ny' = 7: no such key; there are session, "),
        ('group = "239.192.7.1"', "", "multicast.group: is missing"),
        (
            '"239.192.7.1"',
            '"10.0.0.1"',
            'multicast.group = "10.0.0.1": is not a multicast group, which are 2',
        ),
        (
            '"239.192.7.1"',
            '"224.0.0.5"',
            'multicast.group = "224.0.0.5": is reserved for routing protocols; ',
        ),
        ('"239.192.7.1"', '"ff02::1"', 'multicast.group = "ff02::1": is not an IPv4 address'),
        ("port = 30000", "", "multicast.port: is missing"),
        ("port = 30000", "port = 0", "multicast.port = 0: must be 1 to 65535"),
        ("port = 30000", "port = 65536", "multicast.port = 65536: must be 1 to 65535"),
        (
            "port = 30000",
            'port = "30000"',
            'multicast.port = "30000": must be a whole number, without quotes',
        ),
        ("port = 30000", "port = true", "multicast.port = true: must be a whole number, without quotes"),
        ("port = 30000", "port = 3e4", "multicast.port = 30000.0: must be a whole number, without quotes"),
        (
            "port = 30000",
            "port = 0x" + "f" * 9000,
            "multicast.port = a number of very many digits: must be 1",
        ),
        ("port = 30000", "port = " + "1" * 9000, "a number has very many digits"),
        (
            "port = 30000",
            "port = 30000\nport_b = 30009",
            "multicast.group_b: is missing: line B needs group and",
        ),
        (
            "port = 30000",
            'port = 30000\ngroup_b = "239.1.1.1"',
            "multicast.port_b: is missing: line B needs group and port",
        ),
        (
            "port = 30000",
            'port = 30000\ngroup_b = "239.192.7.1"\nport_b = 30000',
            'multicast.group_b = "239.192.7.1": line B must differ from line A in group or port',
        ),
        (
            "port = 30000",
            'port = 30000\ninterface = "eth0"',
            'multicast.interface = "eth0": must be the IPv4 a',
        ),
        ("port = 30000", "port = 30000\nttl = 256", "multicast.ttl = 256: must be 0 to 255"),
        (
            "port = 30000",
            "port = 30000\ndatagram_bytes = 127",
            "multicast.datagram_bytes = 127: must be 128 to 65507",
        ),
        (
            "port = 30000",
            "port = 30000\ndatagram_byte = 1",
            "multicast.datagram_byte = 1: no such key; did you mea",
        ),
        (
            "[access]",
            '[log]\nkeep = "5 days"\n[access]',
            'log.keep = "5 days": must be "all", a number of sess',
        ),
        ("[access]", "[log]\nkeep = 5\n[access]", "log.keep = 5: must be text, in quotes"),
        ("open = true", "", "access.users: is missing: access is not open, so nobody could log in"),
        ("open = true", 'open = "true"', 'access.open = "true": must be true or false, without quotes'),
        ("open = true", "open = 1", "access.open = 1: must be true or false, without quotes"),
        ("open = true", "open = true\nusers = 7", "access.users = 7: must be text, in quotes"),
        ("[access]", "[log]\nsegment_mib = 0\n[access]", "log.segment_mib = 0: must be 1 to 2048"),
        (
            "[access]",
            '[log]\ndurability = "fsync"\n[access]',
            'log.durability = "fsync": must be one of "memory", "group", "always"',
        ),
        ("[access]", "[log]\ndurability = 1\n[access]", "log.durability = 1: must be one of"),
        ("[access]", "[log]\ndurability = []\n[access]", "log.durability = []: must be one of"),
        ("[access]", "[timing]\nheartbeat_ms = 9\n[access]", "timing.heartbeat_ms = 9: must be 10 to 10000"),
        (
            "[access]",
            "[timing]\nsuspect_ms = 49\n[access]",
            "timing.suspect_ms = 49: must be 50 to 600000",
        ),
        (
            "[access]",
            "[timing]\nsuspect_ms = 600001\n[access]",
            "timing.suspect_ms = 600001: must be 50 to 600000",
        ),
        (
            "[access]",
            "[receiver]\nreorder_delay_ms = -1\n[access]",
            "receiver.reorder_delay_ms = -1: must be 0 to 1000",
        ),
        (
            "[nodes.SEQ1]",
            "[nodes.seq1]",
            "nodes.seq1: the name of a node must be 1 to 6 ASCII capital letters or digits",
        ),
        (
            "[nodes.SEQ1]",
            "[nodes.SEQ1234]",
            "nodes.SEQ1234: the name of a node must be 1 to 6 ASCII capital letters or d",
        ),
        (
            "[nodes.SEQ1]",
            '[nodes."S Q"]',
            "nodes.S Q: the name of a node must be 1 to 6 ASCII capital letters or d",
        ),
        ("[nodes.SEQ1]", "[nodes]\nX = 1\n[nodes.SEQ1]", "nodes.X = 1: must be a table"),
        ('role = "sequencer"', "", "nodes.SEQ1.role: is missing"),
        (
            'role = "sequencer"',
            'role = "primary"',
            'nodes.SEQ1.role = "primary": must be one of "sequencer", "rew',
        ),
        (
            'role = "sequencer"',
            'role = "sequencer"\nvoter = false',
            "nodes.SEQ1.voter = false: a sequencer always vo",
        ),
        (
            'role = "sequencer"',
            'role = "sequencer"\nhost = "a b"',
            'nodes.SEQ1.host = "a b": must be an IPv4 addr',
        ),
        (
            'role = "sequencer"',
            'role = "sequencer"\nhost = "0.0.0.0"',
            'nodes.SEQ1.host = "0.0.0.0": must be an add',
        ),
        (
            'role = "sequencer"',
            'role = "sequencer"\nreplay_port = 1',
            "nodes.SEQ1.replay_port = 1: only a rewinder h",
        ),
        (
            'role = "rewinder"',
            'role = "rewinder"\nsubmit_port = 1',
            "nodes.REW1.submit_port = 1: only a sequencer h",
        ),
        (
            'role = "sequencer"',
            'role = "sequencer"\nidle = "sleep"',
            'nodes.SEQ1.idle = "sleep": must be one of "block", "spin"',
        ),
        (
            'role = "sequencer"',
            'role = "sequencer"\ncore = -1',
            "nodes.SEQ1.core = -1: must be 0 to 1023",
        ),
        (
            'role = "sequencer"',
            'role = "sequencer"\npriority = 100',
            "nodes.SEQ1.priority = 100: must be 1 to 99",
        ),
        ("submit_port = 30002", "", "nodes.SEQ1.submit_port: is missing: a sequencer needs it"),
        ("replay_port = 30004", "", "nodes.REW1.replay_port: is missing: a rewinder needs it"),
        ("node_port = 30003", "", "nodes.REW1.node_port: is missing: a rewinder needs it"),
        (
            "submit_port = 30002",
            "submit_port = 30001",
            "nodes.SEQ1.submit_port = 30001: nodes.SEQ1.node_port uses t",
        ),
        (
            "replay_port = 30004",
            "replay_port = 30002",
            "nodes.REW1.replay_port = 30002: nodes.SEQ1.submit_port uses",
        ),
        (
            "replay_port = 30004",
            "replay_port = 30000",
            "nodes.REW1.replay_port = 30000: multicast.port uses that p",
        ),
        (
            "replay_port = 30004",
            'replay_port = 30002\nhost = "LOCALHOST"',
            "nodes.REW1.replay_port = 30002: nodes.SEQ1.submit_port uses that port already",
        ),
        (
            "replay_port = 30004",
            "replay_port = 30004\nrequest_port = 30004",
            "nodes.REW1.request_port = 30004: nodes.R",
        ),
        ('session = "DEMO"', "session = ", "not TOML: "),
        ('session = "DEMO"', "a = " + "[" * 5000, "not TOML: "),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_file_key_and_value(old, new, sentence):
    with pytest.raises(ConfigError) as caught:
        parse(changed(old, new))
    text = str(caught.value)
    assert text.startswith(f"{PATH}: {sentence}")
    assert text.isprintable()
    assert "\n" not in text
    assert caught.value.exit_status == 2


def test_the_same_port_on_two_hosts_is_fine():
    text = changed("node_port = 30003", 'node_port = 30001\nhost = "10.0.0.2"')
    assert parse(text).node("REW1").node_port == 30001


def test_a_configuration_without_a_sequencer():
    start, _, rest = MINIMAL.partition("[nodes.SEQ1]")
    with pytest.raises(ConfigError, match='nodes: at least one needs role = "sequencer"'):
        parse(start)
    with pytest.raises(ConfigError, match='nodes: at least one needs role = "sequencer"'):
        parse(start + "[nodes.REW1]" + rest.partition("[nodes.REW1]")[2])


def test_too_many_nodes():
    nodes = "".join(
        f'[nodes.R{n}]\nrole = "rewinder"\nnode_port = {n + 1}\nreplay_port = 1\n' for n in range(64)
    )
    with pytest.raises(ConfigError, match="nodes: 66 of them, and the limit is 64"):
        parse(MINIMAL + nodes)


def test_a_node_that_is_not_there():
    with pytest.raises(ConfigError, match="there is no node 'SEQ9'; the nodes are SEQ1, REW1"):
        parse(MINIMAL).node("SEQ9")


def test_a_long_value_is_cut_in_the_error():
    with pytest.raises(ConfigError) as caught:
        parse(changed('"DEMO"', '"' + "x" * 5000 + '"'))
    assert len(str(caught.value)) < 200


def test_fingerprint_covers_what_nodes_share_and_nothing_else():
    same = [
        MINIMAL,
        changed("open = true", 'open = false\nusers = "u"'),
        MINIMAL + '[log]\ndirectory = "/elsewhere"\nsegment_mib = 1\n',
        MINIMAL + "[receiver]\nreorder_delay_ms = 7\n",
        changed("port = 30000", 'port = 30000\ninterface = "10.0.0.1"\nttl = 3'),
    ]
    different = [
        changed('"DEMO"', '"OTHER"'),
        changed("port = 30000", "port = 30009"),
        changed("port = 30000", "port = 30000\ndatagram_bytes = 9000"),
        MINIMAL + '[log]\ndurability = "always"\n',
        MINIMAL + "[timing]\nheartbeat_ms = 500\n",
        MINIMAL + "[timing]\nsuspect_ms = 500\n",
        changed("replay_port = 30004", "replay_port = 30004\nvoter = true"),
        changed("submit_port = 30002", "submit_port = 30008"),
    ]
    assert len({parse(text).fingerprint() for text in same}) == 1
    prints = [parse(text).fingerprint() for text in (MINIMAL, *different)]
    assert len(set(prints)) == len(prints)
    assert all(len(print_) == 12 for print_ in prints)
    assert parse_configuration(MINIMAL, Path("/other/place.toml")).fingerprint() == prints[0]


def test_where_a_node_runs_is_its_own_affair():
    text = changed('role = "sequencer"', 'role = "sequencer"\nidle = "spin"\ncore = 0\npriority = 7')
    node = parse(text).node("SEQ1")
    assert (node.idle, node.core, node.priority) == (Idle.SPIN, 0, 7)
    assert parse(text).as_plain()["nodes"]["SEQ1"]["idle"] == "spin"
    assert parse(text).fingerprint() == parse(MINIMAL).fingerprint()


def test_as_plain_names_every_key():
    plain = parse(MINIMAL).as_plain()
    assert set(plain) == {"path", "session", *TABLES, "nodes", "derived"}
    assert plain["log"] == {
        "directory": "/etc/bus/log",
        "segment_mib": 64,
        "ahead_mib": 16,
        "keep": "all",
        "durability": "memory",
    }
    assert plain["derived"]["voters"] == ["SEQ1"]
    keys = {
        "session",
        *(key for table in TABLES for key in plain[table]),
        "role",
        "voter",
        "host",
        *PORT_KEYS,
        *PLACE_KEYS,
    }
    assert len(keys) < 30, "one file, under thirty keys"


class TestFinding:
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_the_option_goes_before_the_environment_and_that_before_the_directory(self):
        for name in ("a.toml", "b.toml", "seqcast.toml"):
            Path(name).write_text(MINIMAL, encoding="ascii")
        environment = {"SEQCAST_CONFIG": "b.toml"}
        assert find_configuration("a.toml", environment) == Path("a.toml")
        assert find_configuration(None, environment) == Path("b.toml")
        assert find_configuration(None, {}) == Path("seqcast.toml")
        assert find_configuration(None, {"SEQCAST_CONFIG": ""}) == Path("seqcast.toml")

    def test_a_directory_stands_for_the_file_in_it(self):
        Path("run").mkdir()
        Path("run/seqcast.toml").write_text(MINIMAL, encoding="ascii")
        assert find_configuration("run", {}) == Path("run/seqcast.toml")

    def test_none_at_all_says_how_to_make_one(self):
        with pytest.raises(
            ConfigError, match=r"there is no seqcast\.toml here: make one with `seqcast init`"
        ):
            find_configuration(None, {})
        with pytest.raises(ConfigError, match=r"a\.toml, named by --config, does not exist"):
            find_configuration("a.toml", {})
        with pytest.raises(ConfigError, match=r"b\.toml, named by SEQCAST_CONFIG, does not exist"):
            find_configuration(None, {"SEQCAST_CONFIG": "b.toml"})


class TestReading:
    def test_a_file(self, tmp_path):
        path = tmp_path / "seqcast.toml"
        path.write_text(MINIMAL, encoding="ascii")
        assert read_configuration(path).path == path

    def test_what_cannot_be_read(self, tmp_path):
        path = tmp_path / "seqcast.toml"
        with pytest.raises(ConfigError, match=r"seqcast\.toml: cannot be read: No such file"):
            read_configuration(path)
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            read_configuration(tmp_path)
        path.write_bytes(b"session = '\xff'")
        with pytest.raises(ConfigError, match="not UTF-8 at byte 11"):
            read_configuration(path)
        path.write_bytes(b"#" * (1 << 20) + b"\n")
        with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
            read_configuration(path)

    def test_a_path_below_the_working_directory_is_shown_relative(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match=r"^run/seqcast\.toml: "):
            read_configuration(tmp_path / "run" / "seqcast.toml")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_one_sentence(text):
    with contextlib.suppress(ConfigError):
        parse(text)


_values = st.one_of(
    st.booleans().map(lambda value: str(value).lower()),
    st.integers(-(2**40), 2**40).map(str),
    st.text("ab\"'\\ \t.", max_size=4).map(lambda value: f"'{value}'"),
    st.just("[1]"),
    st.just("{a = 1}"),
    st.just("1979-05-27"),
    st.just("nan"),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([line for line in MINIMAL.splitlines() if "=" in line]), _values)
def test_any_value_of_any_key_is_accepted_or_named(line, value):
    key = line.partition(" = ")[0]
    try:
        parse(MINIMAL.replace(line, f"{key} = {value}", 1))
    except ConfigError as error:
        assert str(error).startswith(f"{PATH}: ")  # noqa: PT017  (most values are accepted)


class TestTemplate:
    @pytest.mark.parametrize("voters", template.VOTER_COUNTS)
    def test_it_is_a_correct_configuration_that_mentions_every_key(self, voters):
        text = template.render(session="A1", group="239.192.0.9", base_port=20000, nodes=voters)
        configuration = parse(text)
        assert (configuration.session, configuration.multicast.group) == ("A1", "239.192.0.9")
        assert configuration.multicast.port == 20000
        assert [port for node in configuration.nodes for port in node.ports.values()] == list(
            range(20001, 20000 + template.ports_needed(voters))
        )
        plain = configuration.as_plain()
        for key in [key for table in TABLES for key in plain[table]] + [
            "session",
            "voter",
            *PORT_KEYS,
            *PLACE_KEYS,
        ]:
            assert key in text
        for line in text.splitlines():
            assert line.isascii()
            assert len(line) <= 110

    @pytest.mark.parametrize(
        ("voters", "names", "ports"),
        [
            (1, ["SEQ1", "(REW1)"], 6),
            (2, ["SEQ1", "SEQ2", "(REW1)"], 8),
            (3, ["SEQ1", "SEQ2", "REW1", "(REW2)"], 11),
            (5, ["SEQ1", "SEQ2", "REW1", "REW2", "REW3", "(REW4)"], 17),
        ],
    )
    def test_the_nodes_of_so_many_voters(self, voters, names, ports):
        """Those in brackets do not vote."""
        text = template.render(session="A1", group="239.192.0.9", base_port=20000, nodes=voters)
        configuration = parse(text)
        assert [n.name if n.voter else f"({n.name})" for n in configuration.nodes] == names
        assert len(configuration.voters) == voters
        for node in configuration.nodes:
            assert node.role.value == ("sequencer" if node.name.startswith("SEQ") else "rewinder")
            assert len(node.ports) == (2 if node.role is NodeRole.SEQUENCER else 3), "request_port too"
        assert template.ports_needed(voters) == ports
        assert f"Here N = {voters} voter" in text
        assert f"and W = {configuration.write_quorum} of them" in text

    def test_a_key_is_explained_once(self):
        lines = template.render(session="A1", group="239.192.0.9", base_port=20000, nodes=5).splitlines()
        for key in ("voter = true", *PORT_KEYS):
            places = [position for position, line in enumerate(lines) if line.startswith(key)]
            assert [place for place in places if lines[place - 1].startswith("# ")] == places[:1], key

    @pytest.mark.parametrize("voters", [-1, 0, 4, 6, 7])
    def test_other_numbers_of_voters_are_refused(self, voters):
        with pytest.raises(ConfigError, match=f"{voters}: must be 1, 2, 3 or 5: "):
            template.render(session="A1", group="239.192.0.9", base_port=20000, nodes=voters)

    def test_alternatives(self):
        assert [template.alternatives(numbers) for numbers in ([1], (1, 2), range(3))] == [
            "1",
            "1 or 2",
            "0, 1 or 2",
        ]

    def test_its_settings_are_the_defaults(self):
        """So that a key that somebody deletes does not change anything."""
        written = parse(template.render(session="DEMO", group="239.192.7.1", base_port=30000)).as_plain()
        minimal = parse(MINIMAL).as_plain()
        for table in ("multicast", "log", "timing", "receiver"):
            assert written[table] == minimal[table]

    def test_line_b_can_be_switched_on(self):
        for group in ("239.192.0.9", "239.195.255.255"):
            text = template.render(session="A1", group=group, base_port=20000)
            text = text.replace("# group_b", "group_b").replace("# port_b", "port_b")
            assert len(parse(text).multicast.lines) == 2

    def test_groups_are_drawn_from_239_192_14(self):
        chooser = random.Random(1)
        groups = {template.choose_group(chooser) for _ in range(100)}
        assert len(groups) == 100
        assert all(group.startswith(("239.192.", "239.193.", "239.194.", "239.195.")) for group in groups)

    def test_sessions_are_valid_names(self):
        session = template.choose_session(random.Random(1), "260131")
        assert len(session) == 10
        assert parse(changed('"DEMO"', f'"{session}"')).session == session

    def test_ports_are_free_and_below_the_ephemeral_range(self, tmp_path, monkeypatch):
        chooser = random.Random(7)
        base = template.choose_base_port(chooser)
        assert 10_000 <= base < 32_768 - 6
        with contextlib.closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", base + 3))
            assert not template._is_free(base + 3)
            assert template.choose_base_port(random.Random(7)) != base
            base = template.choose_base_port(random.Random(7), 5)
            assert base % 20 == 0, "blocks of 17 ports do not overlap"
            with contextlib.closing(socket.socket()) as last:
                last.bind(("127.0.0.1", base + 16))
                assert template.choose_base_port(random.Random(7), 5) != base
        ephemeral = tmp_path / "range"
        ephemeral.write_text("10000\t60999\n", encoding="ascii")
        monkeypatch.setattr(template, "EPHEMERAL_RANGE", ephemeral)
        with pytest.raises(ConfigError, match="no 6 free ports in a row were found"):
            template.choose_base_port(chooser)
        with pytest.raises(ConfigError, match="no 17 free ports in a row were found"):
            template.choose_base_port(chooser, 5)
        ephemeral.write_text("nonsense", encoding="ascii")
        assert template._first_ephemeral_port() == 32_768
