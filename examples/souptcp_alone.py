"""`souptcp` without the bus: a SoupBinTCP server and a client on a socket pair of this process.

python examples/souptcp_alone.py
"""

import select
import time

from souptcp import (
    SOUPBINTCP,
    Accepted,
    ClientSession,
    Closed,
    Connection,
    EndOfSession,
    Listener,
    LoginRequested,
    Sequenced,
    ServerSession,
    connect,
)


def main() -> None:
    listener = Listener("127.0.0.1", 0)
    client = Connection(
        connect("127.0.0.1", listener.port),
        ClientSession(SOUPBINTCP, user="READER", password="SECRET", sequence_number=2),
    )
    server: Connection | None = None
    messages = [b"one", b"two", b"three"]
    done = False
    while not done:
        sockets = [listener, client] + ([server] if server else [])
        writing = [one for one in (client, server) if one is not None and one.wants_write]
        select.select(sockets, writing, [], 1.0)
        now_ns = time.monotonic_ns()
        for socket in listener.accept():
            server = Connection(socket, ServerSession(SOUPBINTCP, now_ns=now_ns))
        if server is not None and not server.closed:
            session = server.session
            assert isinstance(session, ServerSession)
            for event in server.read(now_ns):
                match event:
                    case LoginRequested(request):
                        session.accept(b"EXAMPLE", request.sequence_number, now_ns)
                        session.send_sequenced(messages[request.sequence_number - 1 :])
                        session.end_session(now_ns)
                    case Closed():
                        server.close(now_ns)
            server.write(now_ns)
        for event in client.read(now_ns):
            match event:
                case Accepted(name, number):
                    print(f"accepted: session {name.decode()}, next {number}")
                case Sequenced(first, batch):
                    print(f"from {first}: {batch.payloads()}")
                case EndOfSession():
                    print("end of session")
                    done = True
        client.write(now_ns)
    client.abandon()
    if server is not None:
        server.abandon()
    listener.close()


if __name__ == "__main__":
    main()
