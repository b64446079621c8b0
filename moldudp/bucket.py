"""A token bucket: so much a second, with a burst. It delays and forgets nothing.

The bucket is kept as the time at which it will be full again, so nothing has to be filled while time passes.
"""

from __future__ import annotations

from attrs import define, field, validators

SECOND_NS = 1_000_000_000


@define(eq=False)
class Bucket:
    """The machine: `burst` tokens at most, `rate` new ones a second.

    While a token is there anything may be taken: what is more than the tokens is a debt, and nothing is given until
    it is paid. So there is one moment from which on the next taker is served, however much it wants, and the rate
    holds all the same.
    """

    rate: float = field(validator=validators.gt(0))
    burst: int = field(validator=validators.ge(1))
    held_back: int = field(default=0, init=False)
    """How often someone had to wait; asking again while waiting is not counted again."""
    _full_ns: int = field(default=0, init=False)
    _refused: bool = field(default=False, init=False)

    @property
    def ready_ns(self) -> int:
        """From when on `take` gives."""
        return self._full_ns - int((self.burst - 1) * SECOND_NS / self.rate)

    def take(self, amount: int, now_ns: int) -> bool:
        """Take `amount` tokens; False, and nothing taken, when there is none."""
        if now_ns < self.ready_ns:
            self.held_back += not self._refused
            self._refused = True
            return False
        self._refused = False
        self._full_ns = max(self._full_ns, now_ns) + int(amount * SECOND_NS / self.rate)
        return True
