"""Editing a configuration that people have written: what is changed, what stays, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqcast.config import ConfigError, parse_configuration
from seqcast.config_edit import replace_file, with_new_session
from seqcast.template import VOTER_COUNTS, render

PATH = Path("seqcast.toml")


def template(nodes: int) -> str:
    return render(session="OLD", group="239.192.7.1", base_port=20_000, nodes=nodes)


def edit(text: str, removed: set[str], session: str = "NEW") -> str:
    edited, configuration = with_new_session(text, parse_configuration(text, PATH), session, removed, "gone")
    assert parse_configuration(edited, PATH) == configuration
    assert configuration.session == session
    assert not {node.name for node in configuration.nodes} & removed
    return edited


@pytest.mark.parametrize("nodes", VOTER_COUNTS)
def test_of_the_text_of_init_only_what_has_to_changes(nodes: int) -> None:
    text = template(nodes)
    removed = {1: set(), 2: {"SEQ1"}, 3: {"SEQ1", "REW1"}, 5: {"SEQ2", "REW1", "REW3"}}[nodes]
    edited = edit(text, removed)
    assert f"# Here N = {nodes - len(removed)} voter" in edited
    gone = set(text.splitlines()) - set(edited.splitlines())
    changed = {line for line in gone if not line.startswith("#")}
    assert {line for line in changed if f"# {line}" not in edited} == {'session = "OLD"'}
    quorum = {line for line in gone if line.startswith("#")}
    assert len(quorum) <= 3, "what N and W are, and nothing else"


def test_what_was_taken_out_can_be_put_back_by_hand() -> None:
    text = template(3)
    edited = edit(text, {"SEQ1"}, "OLD2")
    assert "# SEQ1: gone\n# [nodes.SEQ1]\n# role = " in edited
    start = edited.index("# [nodes.SEQ1]")
    end = edited.index("[nodes.SEQ2]")
    section = "".join(
        line.removeprefix("# ") if " = " in line or "[" in line else line
        for line in edited[start:end].splitlines(keepends=True)
    )
    restored = parse_configuration(edited[:start] + section + edited[end:], PATH)
    assert restored.nodes == parse_configuration(text, PATH).nodes


def test_it_can_be_done_again() -> None:
    edited = edit(edit(template(5), {"REW3"}, "TWO"), {"REW2", "REW1"}, "THREE")
    assert "Here N = 2 voters and W = 2 of them" in edited


OTHER_FORMS = """\
session='OLD' # ours
multicast.group = "239.192.7.1"
multicast.port = 20000
[access]
open = true
[ nodes . "SEQ1" ]   # the first
node_port = 20001
submit_port = 20002
# role says what it does
role = "sequencer"
[nodes.SEQ2]
role = "sequencer"
node_port = 20003
submit_port = 20004
"""


def test_other_ways_to_write_toml() -> None:
    edited = edit(OTHER_FORMS, {"SEQ1"})
    assert edited.startswith('session="NEW" # ours\n')
    assert '# [ nodes . "SEQ1" ]   # the first\n# node_port = 20001\n' in edited
    assert "\n# role says what it does\n# role = " in edited
    inline = """\
session = "OLD"
multicast = { group = "239.192.7.1", port = 20000 }
access.open = true
[nodes]
SEQ1 = { role = "sequencer", node_port = 20001, submit_port = 20002 }
SEQ2.role = "sequencer"
SEQ2.node_port = 20003
SEQ2.submit_port = 20004
"""
    assert "\n# SEQ1 = {" in edit(inline, {"SEQ1"})
    assert "\n# SEQ2.node_port" in edit(inline, {"SEQ2"})


def test_lines_that_end_as_windows_has_them() -> None:
    edited = edit(template(2).replace("\n", "\r\n"), {"SEQ1"})
    assert 'session = "NEW"\r\n' in edited


ONE_LINE = """\
session = "OLD"
nodes = { SEQ1 = { role = "sequencer", node_port = 1, submit_port = 2 }, \
SEQ2 = { role = "sequencer", node_port = 3, submit_port = 4 } }
[access]
open = true
[multicast]
group = "239.192.7.1"
port = 20000
"""


@pytest.mark.parametrize(
    "text",
    [
        OTHER_FORMS.replace("session='OLD'", "'session' = 'OLD'"),
        OTHER_FORMS.replace("session='OLD'", "session = '''\nOLD'''"),
        ONE_LINE,
    ],
)
def test_what_cannot_be_edited_is_left_to_its_owner(text: str) -> None:
    configuration = parse_configuration(text, PATH)
    with pytest.raises(ConfigError, match='cannot be edited: set session = "NEW" in it yourself, and take'):
        with_new_session(text, configuration, "NEW", {"SEQ1"}, "gone")


def test_a_session_that_cannot_be() -> None:
    text = template(1)
    with pytest.raises(ConfigError, match=r'session = "TOO-LONG-A-NAME": must be 1 to 10 ASCII'):
        with_new_session(text, parse_configuration(text, PATH), "TOO-LONG-A-NAME", set(), "gone")


class TestReplacing:
    def test_the_old_file_lies_beside_the_new_one(self, tmp_path: Path) -> None:
        path, backup = tmp_path / "seqcast.toml", tmp_path / "seqcast.toml.OLD"
        path.write_text("old")
        path.chmod(0o640)
        replace_file(path, "new", backup)
        assert (path.read_text(), backup.read_text()) == ("new", "old")
        assert path.stat().st_mode & 0o777 == backup.stat().st_mode & 0o777 == 0o640
        assert sorted(tmp_path.iterdir()) == [path, backup]

    def test_a_backup_is_never_overwritten(self, tmp_path: Path) -> None:
        path, backup = tmp_path / "seqcast.toml", tmp_path / "seqcast.toml.OLD"
        path.write_text("old")
        backup.write_text("older")
        with pytest.raises(FileExistsError):
            replace_file(path, "new", backup)
        assert (path.read_text(), backup.read_text()) == ("old", "older")

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real.toml").write_text("old")
        path = tmp_path / "seqcast.toml"
        path.symlink_to("real.toml")
        replace_file(path, "new", tmp_path / "backup")
        assert path.is_symlink()
        assert (tmp_path / "real.toml").read_text() == "new"
