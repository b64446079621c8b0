"""A sender and a receiver in one asyncio event loop: many messages on their way, and each one heard.

    python examples/async_app.py run/seqcast.toml ALPHA 100

No thread is started: both move while the loop waits, beside whatever else runs in it.
"""

import asyncio
import sys

from seqcast import Receiver, Sender, Ticket


async def hear(receiver: Receiver, user: str, last: int) -> dict[int, str]:
    """Listen until this user's message `last` has come; returns what he said, by stream number."""
    heard = {}
    async for message in receiver:
        if message.sender == user:
            heard[message.number] = message.payload.decode("ascii", "replace")
            if message.sender_sequence == last:
                break
    return heard


async def say(sender: Sender, count: int) -> list[Ticket]:
    """Send some messages; `send` waits for nothing, `room` keeps a fast app from filling the outbox."""
    tickets = []
    for n in range(1, count + 1):
        tickets.append(sender.send(f"message {n}".encode()))
        await sender.room()
    return tickets


async def run(configuration: str, user: str, count: int) -> None:
    async with Receiver(configuration) as receiver, Sender(configuration, user) as sender:
        first = sender.resumed_at + 1
        hearing = asyncio.create_task(hear(receiver, user, sender.resumed_at + count))
        tickets = await say(sender, count)
        numbers = [await ticket for ticket in tickets]
        heard = await hearing
    print(f"messages {first} to {first + count - 1} of {user} are records {numbers[0]} to {numbers[-1]}")
    same = all(heard.get(number) == f"message {n}" for n, number in enumerate(numbers, start=1))
    print(f"heard at the same numbers: {same}")


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
