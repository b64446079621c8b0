"""A bug that shows once in many runs, found by its seed, and the same app without it.

    python examples/find_a_bug.py            # hunts it
    python examples/find_a_bug.py 12         # shows the run of seed 12 again, and what happened in it

An app pays, and each payment should be in the stream once. What goes wrong needs a primary that is silent for longer
than the app is patient: rare on a good day, and a matter of a second here, because the bus is in this process, on
virtual time, and a seed decides everything that is left to chance. In a test of your own that is:

    @pytest.mark.bus(seeds=100)
    def test_each_payment_once(bus):
        scenario(bus, pay)
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from seqcast import Sender
from seqcast.testing import App, Bus, Troubles, hunt

PAYMENTS = 30
PATIENCE_SECONDS = 0.3
SEEDS = range(50)

Pay = Callable[[App, Sender, bytes], Awaitable[int]]


async def pay_wrong(app: App, sender: Sender, payment: bytes) -> int:
    """The bug: a time-out means unknown, and here it is taken for failed."""
    while True:
        ticket = sender.send(payment)
        try:
            return await asyncio.wait_for(ticket, PATIENCE_SECONDS)
        except TimeoutError:
            app.note(f"{payment.decode()} failed, once more")


async def pay(app: App, sender: Sender, payment: bytes) -> int:
    """Sent once and waited for as long as it takes: the sender sends again by itself, and the stream has it once."""
    ticket = sender.send(payment)
    while True:
        try:
            return await asyncio.wait_for(ticket, PATIENCE_SECONDS)
        except TimeoutError:
            app.note(f"{payment.decode()} is not committed yet, waiting on")


def scenario(bus: Bus, pay: Pay) -> None:
    """Some payments while something happens to the bus. Fails when one is in the stream twice, or never."""
    paid: dict[bytes, int] = {}

    async def payer(app: App) -> None:
        async with app.sender("PAYER") as sender:
            for n in range(1, PAYMENTS + 1):
                await pay(app, sender, b"payment %d" % n)
                await asyncio.sleep(0.02)

    async def ledger(app: App) -> None:
        async with app.receiver() as receiver:
            async for message in receiver:
                earlier = paid.setdefault(message.payload, message.number)
                if earlier != message.number:
                    app.note(f"{message.payload.decode()} is there twice")
                    raise AssertionError(
                        f"{message.payload.decode()} is record {earlier} and {message.number}"
                    )

    bus.wait_for_primary()
    Troubles(bus, seconds=1.0, count=3, kinds=("failover", "pause", "cut"))
    paying = bus.spawn(payer, "payer")
    bus.spawn(ledger, "ledger")
    bus.run_until(lambda: not paying.running and len(paid) == PAYMENTS)
    bus.run(1.0)  # what is there twice is seen by now


def main() -> None:
    seeds = range(int(sys.argv[1]), int(sys.argv[1]) + 1) if len(sys.argv) > 1 else SEEDS
    found = hunt(partial(scenario, pay=pay_wrong), seeds)
    if found is None:
        print(f"seeds {seeds[0]} to {seeds[-1]}: nothing went wrong")
    else:
        print(f"seed {found.seed}: {found.error}", "What had happened:", *found.trace[-15:], sep="\n")
        print(f"See it again: python {sys.argv[0]} {found.seed}")
    corrected = hunt(partial(scenario, pay=pay), seeds)
    print(f"corrected: {f'seed {corrected.seed}: {corrected.error}' if corrected else 'nothing went wrong'}")


if __name__ == "__main__":
    main()
