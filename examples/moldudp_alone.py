"""`moldudp` without the bus: a sender, a request server and a receiver that loses a packet, in one process.

python examples/moldudp_alone.py
"""

import random

from moldudp import MOLDUDP64, Downstream, ListStore, Receiver, RequestServer, session_field


def main() -> None:
    session = session_field("EXAMPLE")
    messages = [f"message {n}".encode() for n in range(1, 11)]
    store = ListStore(MOLDUDP64, session)
    store.extend(messages)
    server = RequestServer(MOLDUDP64, store)
    downstream = Downstream(MOLDUDP64, session, capacity=64)
    receiver = Receiver(session=session, random=random.Random(1))  # noqa: S311

    got = []
    now_ns = 0
    for position, packet in enumerate(downstream.send(messages, now_ns)):
        if position != 1:  # the second packet is lost
            receiver.receive_datagram(packet, now_ns)
            got += receiver.messages().payloads()
    print(f"after the packets: {len(got)} messages, missing {receiver.gaps()}")

    while receiver.gaps():
        now_ns = receiver.deadline_ns() or now_ns  # in a program: wait until then
        for request in receiver.requests(now_ns):
            reply = server.respond(request)
            if reply is not None:
                receiver.receive_datagram(reply, now_ns)
                got += receiver.messages().payloads()
    print(f"after the re-request: {len(got)} messages, complete: {got == messages}")


if __name__ == "__main__":
    main()
