"""Fields of the login packets: golden bytes of the specification, and the padding of real peers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from souptcp import LocalProtocolError, LoginAccepted, LoginRequest, PacketType, RemoteProtocolError
from souptcp.packets import SEQUENCE_NUMBER_LIMIT

FOO = LoginRequest("foo", "bar", b"", 1)
BLANK = b" " * 10
NUMBER_1 = b" " * 19 + b"1"


def decode(payload: bytes, digits: int = 20, *, timeout_field: bool = True) -> LoginRequest:
    return LoginRequest.decode(payload, digits, timeout_field=timeout_field)


@pytest.mark.parametrize(
    ("request_", "digits", "payload"),
    [
        (FOO, 20, b"foo   bar       " + BLANK + NUMBER_1),
        (FOO, 10, b"foo   bar       " + BLANK + b"         1"),
        (LoginRequest("foo", "bar", b"", 1, 5000), 20, b"foo   bar       " + BLANK + NUMBER_1 + b" 5000"),
        (LoginRequest("abcdef", "0123456789", b"S1", 0), 10, b"abcdef0123456789        S1         0"),
    ],
)
def test_login_request_has_the_padding_of_the_specification(
    request_: LoginRequest, digits: int, payload: bytes
) -> None:
    assert request_.encode(digits) == payload
    assert decode(payload, digits) == request_


def test_login_accepted_has_the_padding_of_the_specification() -> None:
    accepted = LoginAccepted(b"SESS01", 135)
    assert accepted.encode(20) == b"    SESS01" + b"135".rjust(20)
    assert accepted.encode(10) == b"    SESS01" + b"135".rjust(10)
    assert LoginAccepted.decode(accepted.encode(20), 20) == accepted


@pytest.mark.parametrize(
    ("user", "password", "session", "number"),
    [
        pytest.param(b"foo   ", b"bar       ", b"    SESS01", b"42".rjust(20), id="specification"),
        pytest.param(b"foo   ", b"bar       ", b"SESS01    ", b"42".ljust(20), id="nasdaq-protocols"),
        pytest.param(b"foo\0\0\0", b"bar" + b"\0" * 7, b"SESS01\0\0\0\0", b"42".ljust(20, b"\0"), id="NUL"),
        pytest.param(b"   foo", b"       bar", b"  SESS01  ", b"42".rjust(20, b"0"), id="zeros"),
        pytest.param(b"foo  \0", b"bar      \0", b"SESS01 \0 \0", b"  42\0" + b" " * 15, id="mixed"),
    ],
)
def test_padding_of_real_peers_is_read(user: bytes, password: bytes, session: bytes, number: bytes) -> None:
    assert decode(user + password + session + number) == LoginRequest("foo", "bar", b"SESS01", 42)
    assert LoginAccepted.decode(session + number, 20) == LoginAccepted(b"SESS01", 42)


def test_blank_fields_mean_the_active_session_from_now_on() -> None:
    assert decode(b"foo   bar       " + b" " * 30) == LoginRequest("foo", "bar", b"", 0)
    assert decode(b"\0" * 46) == LoginRequest("", "", b"", 0)


@pytest.mark.parametrize(
    ("text", "timeout_ms"),
    [
        (b" 5000", 5000),
        (b"5000 ", 5000),
        (b"1000\0", 1000),
        (b"00001", 1),
        (b"99999", 99999),
        (b"     ", None),
        (b"    0", None),
        (b"00000", None),
        (b"abc  ", None),
        (b"-5000", None),
        (b"+5000", None),
        (b"1 000", None),
        (b"\xb2\xb2\xb2\xb2\xb2", None),
    ],
)
def test_timeout_field_of_4_10(text: bytes, timeout_ms: int | None) -> None:
    assert decode(FOO.encode(20) + text).heartbeat_timeout_ms == timeout_ms


@pytest.mark.parametrize("length", [n for n in range(60) if n not in (46, 51)])
def test_login_request_of_any_other_length_is_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"Login Request of {length} bytes"):
        decode((FOO.encode(20) + b" " * 20)[:length])


def test_login_request_without_the_field_has_one_length() -> None:
    with pytest.raises(RemoteProtocolError, match=r"not 46$"):
        decode(FOO.encode(20) + b" 5000", timeout_field=False)
    with pytest.raises(RemoteProtocolError, match=r"not 36$"):
        decode(FOO.encode(20), 10, timeout_field=False)  # a 3.00 login would read as number 0


@pytest.mark.parametrize("length", [n for n in range(40) if n != 30])
def test_login_accepted_of_any_other_length_is_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"Login Accepted of {length} bytes"):
        LoginAccepted.decode((LoginAccepted(b"S", 1).encode(20) + b" " * 20)[:length], 20)


@pytest.mark.parametrize("number", [b"x", b"-1", b"1.0", b"1 2", b"0x10", b"9" * 20, b"9223372036854775808"])
def test_sequence_numbers_that_are_none(number: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="sequence number"):
        decode(b"foo   bar       " + BLANK + number.rjust(20))
    with pytest.raises(RemoteProtocolError, match="sequence number"):
        LoginAccepted.decode(BLANK + number.rjust(20), 20)


@pytest.mark.parametrize("number", [b"0", b"", b"000"])
def test_a_server_cannot_accept_at_0(number: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="the first is 1"):
        LoginAccepted.decode(BLANK + number.rjust(20), 20)
    with pytest.raises(LocalProtocolError, match="the first is 1"):
        LoginAccepted(b"S", 0).encode(20)


@pytest.mark.parametrize(
    "request_",
    [
        LoginRequest("seven77", ""),
        LoginRequest("", "elevenchars"),
        LoginRequest("\u00e4", ""),
        LoginRequest("a\nb", ""),
        LoginRequest("a\x7f", ""),
        LoginRequest("", "", b"elevenchars"),
        LoginRequest("", "", b"a\nb"),
        LoginRequest("", "", b"", -1),
        LoginRequest("", "", b"", 10_000_000_000),
        LoginRequest("", "", b"", 1, 0),
        LoginRequest("", "", b"", 1, 100_000),
    ],
)
def test_values_that_do_not_fit_their_field(request_: LoginRequest) -> None:
    with pytest.raises(LocalProtocolError):
        request_.encode(10)


def test_passwords_stay_out_of_logs() -> None:
    assert "secret" not in repr(LoginRequest("foo", "secret"))
    with pytest.raises(LocalProtocolError) as caught:
        LoginRequest("foo", "a very secret one").encode(20)
    assert "secret" not in str(caught.value)


def test_credentials_compare_without_case() -> None:
    request = LoginRequest("Foo", "bAR")
    assert request.matches("FOO", "bar")
    assert not request.matches("FOO", "baz")
    assert not request.matches("FO", "Obar")
    assert not LoginRequest("\u00e4", "").matches("", "")


def test_types_are_those_of_the_specification() -> None:
    assert bytes(PacketType) == b"+AJSUHZLRO"


text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=6)


@given(text, text, text, st.integers(0, SEQUENCE_NUMBER_LIMIT), st.none() | st.integers(1, 99_999))
def test_login_request_round_trip(
    user: str, password: str, session: str, number: int, timeout_ms: int | None
) -> None:
    request = LoginRequest(user, password, session.encode(), number, timeout_ms)
    assert decode(request.encode(20)) == request


@given(st.binary(min_size=46, max_size=46) | st.binary(min_size=51, max_size=51))
def test_any_login_bytes_are_read_or_refused(payload: bytes) -> None:
    try:
        request = decode(payload)
    except RemoteProtocolError:
        return
    assert 0 <= request.sequence_number <= SEQUENCE_NUMBER_LIMIT
    assert len(request.user) <= 6
    assert request.heartbeat_timeout_ms is None or 1 <= request.heartbeat_timeout_ms <= 99_999
