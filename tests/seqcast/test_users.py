"""Users and logins: `rewinder.users` and `rewinder.access`, and the editing of the users file."""

from __future__ import annotations

import hashlib
import os
import stat
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewinder import users as users_module
from rewinder.access import NODE_ROLES, OPEN_ROLES, Authority, Granted, Refused, read_node_password
from rewinder.users import (
    SCRYPT_COST,
    AccessError,
    PasswordHash,
    Role,
    User,
    canonical_password,
    canonical_user,
    parse_roles,
    parse_user,
    parse_users,
    read_users,
    role_names,
)
from seqcast.users import UsersError, add_user, list_users, remove_user


def quick_user(name: str, password: str, *roles: Role) -> User:
    """A user whose password costs nothing to check."""
    salt = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return User(
        name, frozenset(roles), PasswordHash(2, salt, users_module._scrypt(password.upper(), salt, 2))
    )


def write(path, *users: User) -> None:
    path.write_text("".join(f"{user}\n" for user in users), encoding="ascii")
    # The file is told from its predecessor by time, size and inode; on a coarse clock only the time may tell.
    stamp = path.stat().st_mtime_ns + 1_000_000 * write.count
    write.count += 1
    os.utime(path, ns=(stamp, stamp))


write.count = 1


@pytest.fixture
def path(tmp_path):
    return tmp_path / "users"


class TestNames:
    def test_the_canonical_form_is_upper_case_without_padding(self):
        assert canonical_user("alice") == "ALICE"
        assert canonical_user(b"Alice ") == "ALICE"
        assert canonical_user(b"bob\0\0\0") == "BOB"
        assert canonical_password(" s3Cr-t ") == "S3CR-T"
        assert canonical_password(b"secret\0\0\0\0") == "SECRET"

    @pytest.mark.parametrize(
        "name", ["", "  ", "seven77", "a b", "a:b", "caf\xe9", "\u017f", b"\xff", b"a\nb", "¹"]
    )
    def test_what_no_login_could_carry_is_no_name(self, name):
        with pytest.raises(AccessError, match="must be 1 to 6 ASCII letters or digits"):
            canonical_user(name)

    @pytest.mark.parametrize("password", ["", " ", "elevenchars", "caf\xe9", "a\tb", "a\nb", b"\x80"])
    def test_nor_a_password_and_it_is_not_repeated(self, password):
        with pytest.raises(AccessError) as caught:
            canonical_password(password)
        assert str(caught.value) == "the password must be 1 to 10 printable ASCII characters"

    def test_roles(self):
        assert parse_roles(["replay", "publish"]) == {Role.PUBLISH, Role.REPLAY}
        assert role_names(frozenset(Role)) == ["publish", "replay", "replicate", "admin"]
        with pytest.raises(
            AccessError, match="role 'reply': must be one of publish, replay, replicate, admin"
        ):
            parse_roles(["reply"])
        with pytest.raises(AccessError, match="no role given"):
            parse_roles([])


class TestPasswords:
    def test_a_hash_matches_its_password_in_any_case_and_no_other(self):
        made = PasswordHash.make("Secret1")
        assert made.matches("SECRET1")
        assert not made.matches("SECRET2")
        assert made.cost == SCRYPT_COST
        assert PasswordHash.parse(str(made)) == made
        assert PasswordHash.make("Secret1").salt != made.salt

    def test_vector(self):
        """RFC 7914 section 12, the vector with r = 8 and p = 1, cut to our length (its first block is the same)."""
        expected = bytes.fromhex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")
        assert users_module._scrypt("pleaseletmein", b"SodiumChloride", 16384) == expected

    def test_every_cost_that_a_file_may_name_can_be_computed(self):
        cost = 2
        while cost <= users_module.SCRYPT_COST_LIMIT:
            hashed = PasswordHash(cost, bytes(16), users_module._scrypt("X", bytes(16), cost))
            assert PasswordHash.parse(str(hashed)).matches("X")
            cost *= 2

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "not of the form"),
            ("scrypt$4096$00", "not of the form"),
            ("scrypt$x$00$00", "not of the form"),
            ("scrypt$4096$zz$00", "not of the form"),
            ("md5$4096$00$00", "only scrypt is known"),
            ("scrypt$4095$00$00", "cost of the password hash is 4095"),
            ("scrypt$0$00$00", "cost of the password hash is 0"),
            ("scrypt$65536$00$00", "cost of the password hash is 65536"),
            ("scrypt$-2$00$00", "cost of the password hash is -2"),
            ("scrypt$4096$00$00", "16 bytes of salt and 32 of hash"),
            ("scrypt$4096$" + "00" * 16 + "$" + "00" * 31, "16 bytes of salt and 32 of hash"),
        ],
    )
    def test_what_is_no_hash(self, text, sentence):
        with pytest.raises(AccessError, match=sentence):
            PasswordHash.parse(text)


class TestFile:
    def test_reading(self, path):
        alice = quick_user("ALICE", "x", Role.PUBLISH, Role.REPLAY)
        bob = quick_user("BOB", "y", Role.ADMIN)
        path.write_text(f"# users\n\n{alice}\n  {bob}  \n", encoding="ascii")
        assert read_users(path) == {"ALICE": alice, "BOB": bob}
        assert str(alice).startswith("ALICE:publish,replay:scrypt$2$")

    def test_names_are_canonical_in_the_file_too(self):
        line = str(quick_user("ALICE", "x", Role.REPLAY))
        assert parse_user(line.replace("ALICE", "alice")).name == "ALICE"

    def test_errors_name_file_and_line(self, path):
        line = str(quick_user("ALICE", "x", Role.REPLAY))
        for text, sentence in [
            ("ALICE", "line 1: not of the form NAME:role,role:hash"),
            (f"#\n{line}:x", "line 2: not of the form NAME:role,role:hash"),
            (line.replace("replay", ""), "line 1: role ''"),
            (line.replace("replay", "reply"), "line 1: role 'reply'"),
            (line.replace("ALICE", "TOO LONG"), "line 1: user name 'TOO LONG'"),
            (f"{line}\n{line.replace('ALICE', 'alice')}", "line 2: user ALICE is listed twice"),
        ]:
            path.write_text(text, encoding="ascii")
            with pytest.raises(AccessError) as caught:
                read_users(path)
            assert str(caught.value).startswith(f"{path}, {sentence}")

    def test_what_cannot_be_read(self, path, monkeypatch):
        with pytest.raises(AccessError, match="users: cannot be read: No such file"):
            read_users(path)
        path.write_bytes(b"\xff")
        with pytest.raises(AccessError, match="users: holds characters that are not ASCII"):
            read_users(path)
        monkeypatch.setattr(users_module, "USERS_FILE_BYTES", 10)
        path.write_bytes(b"#" * 11)
        with pytest.raises(AccessError, match="users: larger than 10 bytes"):
            read_users(path)

    def test_there_is_a_limit_of_users(self, monkeypatch):
        monkeypatch.setattr(users_module, "USERS_LIMIT", 2)
        lines = [str(quick_user(f"U{n}", "x", Role.REPLAY)) for n in range(3)]
        assert len(parse_users("\n".join(lines[:2]), "file")) == 2
        with pytest.raises(AccessError, match="file, line 3: more than 2 users"):
            parse_users("\n".join(lines), "file")

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=100))
    def test_any_text_is_users_or_an_error_that_names_the_file(self, text):
        try:
            parse_users(text, "file")
        except AccessError as error:
            assert str(error).startswith("file, line ")  # noqa: PT017  (some texts are accepted)

    def test_the_node_password(self, path):
        path.write_text("s3cret\nanother line\n", encoding="ascii")
        assert read_node_password(path) == "S3CRET"
        path.write_text("\n", encoding="ascii")
        with pytest.raises(AccessError, match="users: the password must be 1 to 10"):
            read_node_password(path)
        with pytest.raises(AccessError, match="cannot be read"):
            read_node_password(path.parent / "none")


class TestAuthority:
    def test_a_listed_user(self, path):
        write(path, quick_user("ALICE", "secret", Role.PUBLISH))
        authority = Authority(open_access=False, users_path=path)
        assert authority.check("alice", "SECRET", Role.PUBLISH) == Granted("ALICE", frozenset({Role.PUBLISH}))
        assert authority.check(b"Alice ", b"secret    ", Role.PUBLISH).user == "ALICE"
        assert authority.check("alice", "secret", Role.REPLAY) == Refused("user ALICE has no role replay")
        assert authority.check("alice", "wrong", Role.PUBLISH) == Refused("wrong password of user ALICE")
        assert authority.check("alice", "", Role.PUBLISH) == Refused("wrong password of user ALICE")
        assert authority.check("alice", "x" * 11, Role.PUBLISH) == Refused("wrong password of user ALICE")
        assert authority.check("bob", "secret", Role.PUBLISH) == Refused("user BOB is not known")
        assert isinstance(authority.check("", "", Role.PUBLISH), Refused)
        assert isinstance(authority.check(b"\xff\n", b"\xff", Role.PUBLISH), Refused)

    def test_an_administrator_may_do_everything(self, path):
        write(path, quick_user("ROOT", "secret", Role.ADMIN))
        authority = Authority(open_access=False, users_path=path)
        assert all(isinstance(authority.check("root", "secret", role), Granted) for role in Role)

    def test_open_access(self, path):
        """A listed user must present his password even when access is open."""
        write(path, quick_user("ALICE", "secret", Role.REPLAY))
        authority = Authority(open_access=True, users_path=path)
        assert authority.check("bob", "", Role.PUBLISH) == Granted("BOB", OPEN_ROLES)
        assert authority.check("bob", "whatever", Role.REPLAY) == Granted("BOB", OPEN_ROLES)
        assert authority.check("bob", "", Role.REPLICATE) == Refused("user BOB has no role replicate")
        assert authority.check("bob", "", Role.ADMIN) == Refused("user BOB has no role admin")
        assert authority.check("alice", "", Role.REPLAY) == Refused("wrong password of user ALICE")
        assert authority.check("alice", "secret", Role.PUBLISH) == Refused("user ALICE has no role publish")

    def test_nodes(self):
        authority = Authority(open_access=True, nodes={"seq1", "REW1"}, node_password="S3cret")
        assert authority.check("rew1", "s3cret", Role.REPLICATE) == Granted("REW1", NODE_ROLES)
        assert authority.check("SEQ1", "s3cret", Role.REPLAY) == Granted("SEQ1", NODE_ROLES)
        assert authority.check("SEQ1", "s3cret", Role.PUBLISH) == Refused("user SEQ1 has no role publish")
        assert authority.check("SEQ1", "wrong", Role.REPLICATE) == Refused("wrong node password of node SEQ1")
        assert authority.check("SEQ1", "", Role.REPLICATE) == Refused("wrong node password of node SEQ1")
        assert authority.check("other", "s3cret", Role.REPLICATE) == Refused(
            "user OTHER has no role replicate"
        )

    def test_without_a_node_password_no_node_gets_in(self):
        authority = Authority(open_access=True, nodes={"REW1"})
        assert isinstance(authority.check("REW1", "", Role.REPLICATE), Refused)
        assert isinstance(authority.check("REW1", "", Role.REPLAY), Refused), "the name belongs to the node"
        with pytest.raises(AccessError):
            Authority(open_access=True, nodes={"REW1"}, node_password="")

    def test_the_users_file_must_be_there_unless_access_is_open(self, path):
        with pytest.raises(AccessError, match="users: cannot be read"):
            Authority(open_access=False, users_path=path)
        authority = Authority(open_access=True, users_path=path)
        assert isinstance(authority.check("alice", "", Role.PUBLISH), Granted)
        write(path, quick_user("ALICE", "secret", Role.PUBLISH))
        assert isinstance(authority.check("alice", "", Role.PUBLISH), Refused)
        path.write_text("nonsense", encoding="ascii")
        with pytest.raises(AccessError):
            Authority(open_access=True, users_path=path)

    def test_the_file_is_read_again_when_it_has_changed(self, path):
        write(path, quick_user("ALICE", "one", Role.PUBLISH), quick_user("BOB", "b", Role.PUBLISH))
        authority = Authority(open_access=False, users_path=path)
        assert isinstance(authority.check("alice", "one", Role.PUBLISH), Granted)
        assert isinstance(authority.check("alice", "two", Role.PUBLISH), Refused)
        write(path, quick_user("ALICE", "two", Role.REPLAY))
        assert isinstance(authority.check("alice", "one", Role.PUBLISH), Refused)
        assert authority.check("alice", "two", Role.REPLAY) == Granted("ALICE", frozenset({Role.REPLAY}))
        assert authority.check("bob", "b", Role.PUBLISH) == Refused("user BOB is not known")

    def test_a_file_that_became_wrong_changes_nothing_and_is_reported(self, path):
        write(path, quick_user("ALICE", "one", Role.PUBLISH))
        authority = Authority(open_access=False, users_path=path)
        path.write_text("nonsense\n", encoding="ascii")
        assert isinstance(authority.check("alice", "one", Role.PUBLISH), Granted)
        assert authority.problem == f"{path}, line 1: not of the form NAME:role,role:hash"
        path.unlink()
        assert isinstance(authority.check("alice", "one", Role.PUBLISH), Granted)
        assert "cannot be read" in authority.problem
        write(path, quick_user("ALICE", "two", Role.PUBLISH))
        assert isinstance(authority.check("alice", "one", Role.PUBLISH), Refused)
        assert authority.problem is None

    def test_verdicts_are_remembered(self, path):
        write(path, quick_user("ALICE", "secret", Role.PUBLISH), quick_user("BOB", "secret", Role.PUBLISH))
        authority = Authority(open_access=False, users_path=path)
        for _ in range(3):
            assert isinstance(authority.check("alice", "secret", Role.PUBLISH), Granted)
            assert isinstance(authority.check("alice", "wrong", Role.PUBLISH), Refused)
        assert authority.hashes == 2
        assert isinstance(authority.check("bob", "secret", Role.PUBLISH), Granted)
        assert authority.hashes == 3, "one user's verdict is not another's"
        assert isinstance(authority.check("alice", "wrong2", Role.PUBLISH), Refused)
        assert isinstance(authority.check("alice", "wrong", Role.PUBLISH), Refused)
        assert authority.hashes == 5, "memory is bounded: one right and one wrong password for each user"
        assert isinstance(authority.check("alice", "secret", Role.PUBLISH), Granted)
        assert authority.hashes == 5, "wrong passwords do not push out the right one"

    def test_memory_holds_no_password(self, path):
        write(path, quick_user("ALICE", "secret", Role.PUBLISH))
        authority = Authority(open_access=False, users_path=path)
        authority.check("alice", "secret", Role.PUBLISH)
        authority.check("alice", "wrong", Role.PUBLISH)
        assert b"SECRET" not in authority._right["ALICE"]
        assert len(authority._right["ALICE"]) == len(authority._wrong["ALICE"]) == 32
        write(path, quick_user("BOB", "secret", Role.PUBLISH))
        authority.check("bob", "secret", Role.PUBLISH)
        assert (set(authority._right), set(authority._wrong)) == ({"BOB"}, set()), "memory follows the file"

    def test_an_unknown_name_costs_a_hash_as_a_known_one_does(self, path):
        """So that the time of an answer does not tell who is listed."""
        write(path, quick_user("ALICE", "secret", Role.PUBLISH))
        authority = Authority(open_access=False, users_path=path)
        authority.check("bob", "secret", Role.PUBLISH)
        assert authority.hashes == 1

    def test_a_hash_does_not_stall_a_server(self, path):
        """Some milliseconds the first time; microseconds for a reconnect. The bounds leave room for a slow machine."""
        add_user(path, "alice", "secret", ["publish"])
        authority = Authority(open_access=False, users_path=path)
        started = time.perf_counter()
        assert isinstance(authority.check("alice", "secret", Role.PUBLISH), Granted)
        first = time.perf_counter() - started
        again = []
        for _ in range(100):
            started = time.perf_counter()
            authority.check("alice", "secret", Role.PUBLISH)
            again.append(time.perf_counter() - started)
        assert first < 0.25
        assert min(again) < first / 10

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=8) | st.binary(max_size=8), st.text(max_size=12) | st.binary(max_size=12))
    def test_nothing_that_a_peer_sends_raises(self, user, password):
        authority = Authority(open_access=True, nodes={"SEQ1"}, node_password="S3cret")
        answer = authority.check(user, password, Role.REPLICATE)
        assert isinstance(answer, Refused)
        assert answer.reason.isprintable()


class TestEditing:
    def test_add_list_remove(self, path):
        assert list_users(path) == []
        user = add_user(path, "alice", "secret", ["replay", "publish"])
        assert (user.name, user.roles) == ("ALICE", {Role.PUBLISH, Role.REPLAY})
        add_user(path, "Bob", "b", ["admin"])
        assert [user.name for user in list_users(path)] == ["ALICE", "BOB"]
        authority = Authority(open_access=False, users_path=path)
        assert isinstance(authority.check("ALICE", "SECRET", Role.REPLAY), Granted)
        remove_user(path, "ALICE")
        assert [user.name for user in list_users(path)] == ["BOB"]
        assert isinstance(authority.check("ALICE", "SECRET", Role.REPLAY), Refused)
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["users"], "nothing is left behind"

    def test_the_password_is_not_in_the_file(self, path):
        add_user(path, "alice", "secret", ["replay"])
        assert "secret" not in path.read_text(encoding="ascii").lower()

    def test_a_user_who_is_there_is_changed_on_demand_only(self, path):
        add_user(path, "alice", "one", ["replay"])
        with pytest.raises(UsersError, match="user ALICE is there already; --replace changes it"):
            add_user(path, "Alice", "two", ["publish"])
        add_user(path, "Alice", "two", ["publish"], replace=True)
        (alice,) = list_users(path)
        assert alice.roles == {Role.PUBLISH}
        assert alice.password.matches("TWO")

    def test_other_lines_stay_as_they_are(self, path):
        alice, bob = quick_user("ALICE", "a", Role.REPLAY), quick_user("BOB", "b", Role.REPLAY)
        path.write_text(f"# first\n{alice}\n\n   # second\n{bob}\n# last", encoding="ascii")
        add_user(path, "carol", "c", ["replay"])
        remove_user(path, "alice")
        lines = path.read_text(encoding="ascii").splitlines()
        assert lines[:-1] == ["# first", "", "   # second", str(bob), "# last"]
        assert lines[-1].startswith("CAROL:")

    def test_the_file_is_for_its_owner_unless_its_mode_says_otherwise(self, path):
        before = os.umask(0)
        try:
            add_user(path, "alice", "a", ["replay"])
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            path.chmod(0o640)
            add_user(path, "bob", "b", ["replay"])
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
        finally:
            os.umask(before)

    @pytest.mark.parametrize(
        ("name", "password", "roles", "sentence"),
        [
            ("", "x", ["replay"], "user name ''"),
            ("seven77", "x", ["replay"], "user name 'seven77'"),
            ("a:b", "x", ["replay"], "user name 'a:b'"),
            ("alice", "", ["replay"], "the password must be 1 to 10"),
            ("alice", "elevenchars", ["replay"], "the password must be 1 to 10"),
            ("alice", "x", [], "no role given"),
            ("alice", "x", ["reply"], "role 'reply'"),
        ],
    )
    def test_what_is_refused_changes_nothing(self, path, name, password, roles, sentence):
        with pytest.raises(UsersError, match=sentence):
            add_user(path, name, password, roles)
        assert not path.exists()

    def test_a_file_that_is_wrong_is_not_made_worse(self, path):
        path.write_text("nonsense\n", encoding="ascii")
        for edit in (
            lambda: add_user(path, "alice", "x", ["replay"]),
            lambda: remove_user(path, "alice"),
            lambda: list_users(path),
        ):
            with pytest.raises(UsersError, match="users, line 1"):
                edit()
        assert path.read_text(encoding="ascii") == "nonsense\n"

    def test_who_is_not_there_cannot_be_removed(self, path):
        with pytest.raises(UsersError, match="there is no user ALICE"):
            remove_user(path, "alice")
        with pytest.raises(UsersError, match="No such file"):
            remove_user(path.parent / "none" / "users", "alice")
