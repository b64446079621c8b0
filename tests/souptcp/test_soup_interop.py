"""Nasdaq's own Python client and server (nasdaq-protocols) against ours, in both directions, over real sockets.

Both sides run in one asyncio loop. Ours is not asynchronous: it is called when its socket is ready. Payloads stay
below 32 767 bytes, because that package packs a length as a signed number. Its close callback is not always
called after End of Session, so the tests ask `is_closed`, as its documentation offers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from machines import messages_of, plain

from souptcp import (
    SOUPBINTCP,
    SOUPBINTCP_3,
    Accepted,
    ClientSession,
    Closed,
    Codec,
    Connection,
    Debug,
    EndOfSession,
    Listener,
    LoginRequested,
    Logout,
    Rejected,
    ServerSession,
    Unsequenced,
    connect,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import ModuleType

PATIENCE_S = 20.0
STREAM = [b"m%d" % number for number in range(1, 101)]


async def readable(*sources: Connection | Listener) -> None:
    """Until one of the sources has something to read, or a moment has passed."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    for source in sources:
        loop.add_reader(source.fileno(), ready.set)
    try:
        async with asyncio.timeout(0.05):
            await ready.wait()
    except TimeoutError:
        pass
    finally:
        for source in sources:
            loop.remove_reader(source.fileno())


class OurServer:
    """Serves STREAM, and what is added to it, to one client; echoes what the client sends, in its session."""

    def __init__(self, codec: Codec, **settings: Any) -> None:
        self.codec = codec
        self.settings = settings
        self.listener = Listener("127.0.0.1", 0)
        self.events: list[object] = []
        self.session: ServerSession | None = None

    def now_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e9)

    async def serve(self) -> None:
        while not (sockets := list(self.listener.accept())):
            await readable(self.listener)
        self.session = ServerSession(self.codec, now_ns=self.now_ns(), **self.settings)
        connection = Connection(sockets[0], self.session)
        try:
            while not self.session.closing:
                connection.write(self.now_ns())
                await readable(connection)
                for event in connection.read(self.now_ns()):
                    self.handle(event)
                self.events += plain(connection.handle_timer(self.now_ns()))
            while not connection.close(self.now_ns()):
                await readable(connection)
        finally:
            connection.abandon()
            self.listener.close()

    def handle(self, event: object) -> None:
        session = self.session
        assert session is not None
        if isinstance(event, LoginRequested):
            request = event.request
            self.events.append(event)
            if not request.matches("foo", "bar"):
                session.reject("A", 0)
                return
            number = request.sequence_number or len(STREAM) + 1
            session.accept(b"SESS000001", number, self.now_ns())
            session.send_sequenced(STREAM[number - 1 :])
        elif isinstance(event, Unsequenced):
            payloads = event.messages.payloads()
            self.events.append((Unsequenced, payloads))
            session.send_sequenced(payloads)
            if self.codec.server_unsequenced:
                session.send_unsequenced(b"beside")
        else:
            self.events.append(event)
            if event == Debug("end"):
                session.end_session(self.now_ns())


def together(*coroutines: Coroutine[Any, Any, object]) -> list[Any]:
    """Run to the end, all of them, within bounds."""

    async def run() -> list[Any]:
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*coroutines)
            for task in asyncio.all_tasks() - {
                asyncio.current_task()
            }:  # what the other package leaves behind
                task.cancel()
            return results

    return asyncio.run(run())


class TheirClient:
    """A login with their client at our server."""

    def __init__(self, soup: ModuleType, port: int) -> None:
        self.soup = soup
        self.port = port
        self.messages: list[Any] = []
        self.arrived = asyncio.Event()
        self.session: Any = None

    async def login(self, number: int, password: str = "bar", interval_s: float = 1) -> None:
        async def on_message(message: Any) -> None:
            self.messages.append(message)
            self.arrived.set()

        self.session = await self.soup.connect_async(
            ("127.0.0.1", self.port),
            "foo",
            password,
            "",
            number,
            on_msg_coro=on_message,
            client_heartbeat_interval=interval_s,
            server_heartbeat_interval=5,
        )

    async def until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self.arrived.clear()
            await self.arrived.wait()

    async def until_closed(self) -> None:
        while not self.session.is_closed():
            await readable()

    def sequenced(self) -> list[bytes]:
        return [message.data for message in self.messages if type(message).__name__ == "SequencedData"]

    def unsequenced(self) -> list[bytes]:
        return [message.data for message in self.messages if type(message).__name__ == "UnSequencedData"]


@pytest.mark.parametrize("codec", [SOUPBINTCP_3, SOUPBINTCP], ids=lambda codec: codec.version)
@pytest.mark.parametrize("number", [1, 60, 100, 101, 0], ids=lambda number: f"from-{number}")
def test_their_client_replays_and_goes_on_live(soup: ModuleType, codec: Codec, number: int) -> None:
    server = OurServer(codec)
    replayed = STREAM[(number or len(STREAM) + 1) - 1 :]

    async def use() -> None:
        client = TheirClient(soup, server.listener.port)
        await client.login(number)
        assert client.session.session_id.session == "SESS000001"
        await client.until(lambda: len(client.sequenced()) == len(replayed))
        assert client.sequenced() == replayed
        client.session.send_unseq_data(b"hello")
        await client.until(lambda: len(client.sequenced()) == len(replayed) + 1)
        client.session.send_debug("text")
        client.session.send_unseq_data(b"bye")
        await client.until(lambda: len(client.sequenced()) == len(replayed) + 2)
        client.session.send_debug("end")
        await client.until_closed()
        assert client.sequenced() == [*replayed, b"hello", b"bye"]
        assert client.unsequenced() == ([b"beside"] * 2 if codec.server_unsequenced else [])
        assert client.session.sequence == len(STREAM) + 2

    together(server.serve(), use())
    login, *rest = server.events
    assert isinstance(login, LoginRequested)
    assert rest == [(Unsequenced, [b"hello"]), Debug("text"), (Unsequenced, [b"bye"]), Debug("end")]


def test_their_client_learns_that_the_password_is_wrong(soup: ModuleType) -> None:
    server = OurServer(SOUPBINTCP)

    async def use() -> None:
        client = TheirClient(soup, server.listener.port)
        with pytest.raises(ConnectionRefusedError, match="NOT_AUTHORIZED"):
            await client.login(1, password="wrong")

    together(server.serve(), use())


def test_their_client_logs_out(soup: ModuleType) -> None:
    server = OurServer(SOUPBINTCP)

    async def use() -> None:
        client = TheirClient(soup, server.listener.port)
        await client.login(101)
        client.session.logout()
        await client.until_closed()

    together(server.serve(), use())
    assert server.events[1:] == [Logout(), Closed("logged out")]


def test_heartbeats_keep_their_client_and_ours_alive(soup: ModuleType) -> None:
    """Both sides beat every 0.1 s and give up after some tenths more; a second later all are well."""
    server = OurServer(SOUPBINTCP, heartbeat_ns=100_000_000, timeout_ns=800_000_000)

    async def use() -> None:
        loop = asyncio.get_running_loop()
        client = TheirClient(soup, server.listener.port)
        await client.login(101, interval_s=0.1)
        start = loop.time()
        while loop.time() < start + 1.5:
            await readable()
        client.session.send_unseq_data(b"bye")
        await client.until(lambda: client.sequenced() == [b"bye"])
        client.session.send_debug("end")
        await client.until_closed()

    together(server.serve(), use())
    assert not any(isinstance(event, Closed) for event in server.events)


async def serve_theirs(soup: ModuleType) -> Any:
    """Their server, as its documentation has it: STREAM, an echo, and an end of session after `bye`."""

    class Server(soup.SoupServerSession, session_type="server"):  # type: ignore[misc, name-defined]
        async def on_login(self, message: Any) -> Any:
            if (message.user, message.password) != ("foo", "bar"):
                return soup.LoginRejected(soup.LoginRejectReason.NOT_AUTHORIZED)
            if message.session not in ("", "SESS000001"):
                return soup.LoginRejected(soup.LoginRejectReason.SESSION_NOT_AVAILABLE)
            number = int(message.sequence) or len(STREAM) + 1

            def replay() -> None:
                for payload in STREAM[number - 1 :]:
                    self.send_seq_msg(payload)

            asyncio.get_running_loop().call_soon(replay)
            return soup.LoginAccepted("SESS000001", number)

        async def on_unsequenced(self, message: Any) -> None:
            self.send_seq_msg(message.data)
            if message.data == b"bye":
                self.end_session()

    return await asyncio.get_running_loop().create_server(
        lambda: Server(client_heartbeat_interval=1, server_heartbeat_interval=5), "127.0.0.1", 0
    )


def use_their_server(
    soup: ModuleType, session: ClientSession, react: Callable[[ClientSession, list[object]], None]
) -> list[object]:
    """Drive our client until its session is over; `react` is called after each turn with all events so far."""

    async def use() -> list[object]:
        server = await serve_theirs(soup)
        connection = Connection(connect("127.0.0.1", server.sockets[0].getsockname()[1]), session)
        loop = asyncio.get_running_loop()
        events: list[object] = []
        try:
            while not session.closing:
                connection.write(int(loop.time() * 1e9))
                await readable(connection)
                events += plain(connection.read(int(loop.time() * 1e9)))
                events += plain(connection.handle_timer(int(loop.time() * 1e9)))
                if not session.closing:
                    react(session, events)
            while not connection.close(int(loop.time() * 1e9)):
                await readable(connection)
        finally:
            connection.abandon()
            server.close()
            await server.wait_closed()
        return events

    return together(use())[0]  # type: ignore[no-any-return]


def our_client(number: int, password: str = "bar", session: bytes = b"") -> ClientSession:
    return ClientSession(SOUPBINTCP, user="foo", password=password, session=session, sequence_number=number)


@pytest.mark.parametrize("number", [1, 60, 100, 101, 0], ids=lambda number: f"from-{number}")
def test_our_client_replays_from_their_server(soup: ModuleType, number: int) -> None:
    first = number or len(STREAM) + 1
    words = [b"hello", b"bye"]

    def react(session: ClientSession, _events: list[object]) -> None:
        if words and session.next_number == len(STREAM) + 3 - len(words):
            session.send_unsequenced(words.pop(0))

    events = use_their_server(soup, our_client(number, session=b"SESS000001"), react)
    assert events[0] == Accepted(b"SESS000001", first)
    expected = list(enumerate([*STREAM, b"hello", b"bye"], 1))[first - 1 :]
    assert messages_of(events) == expected
    assert events[-2:] == [EndOfSession(), Closed("end of session")]


@pytest.mark.parametrize(("password", "session", "reason"), [("wrong", b"", "A"), ("bar", b"OTHER", "S")])
def test_their_server_rejects_our_client(
    soup: ModuleType, password: str, session: bytes, reason: str
) -> None:
    events = use_their_server(soup, our_client(1, password, session), lambda _session, _events: None)
    assert events[0] == Rejected(reason)
    assert isinstance(events[1], Closed)


def test_our_client_logs_out_of_their_server(soup: ModuleType) -> None:
    def react(session: ClientSession, events: list[object]) -> None:
        if events:
            session.send_debug("bye")
            session.logout(0)

    assert use_their_server(soup, our_client(101), react) == [Accepted(b"SESS000001", 101)]
