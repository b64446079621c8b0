"""The log of a node on another machine, read over the control plane and checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from rewinder import inspection
from rewinder.errors import DamagedRecord
from rewinder.record import check_record
from seqcast.control import ControlError, where_shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqcast.control import ControlClient

PAGE_RECORDS = 512
"""Asked for at once; a node may give fewer."""


@define(eq=False)
class RemoteLog:
    """The log of the node that `client` asks. Everything raises `ControlError`."""

    client: ControlClient
    head: dict[str, Any] = field(init=False)
    """`session`, `first`, `last`, `commit`, `ended`, and the first numbers of the `segments`."""

    def __attrs_post_init__(self) -> None:
        self.head = self.client.request("log")

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return where_shown(self.client.where)

    def segments(self) -> list[tuple[int, int]]:
        """First and last number of each segment, oldest first."""
        firsts, last = self.head["segments"], self.head["last"]
        return [
            (first, following - 1) for first, following in zip(firsts, [*firsts[1:], last + 1], strict=True)
        ]

    def sessions(self) -> list[dict[str, Any]]:
        """The present session and, of a rewinder, the old ones: as `seqcast log sessions` lists them."""
        head = self.head
        present = {
            "session": head["session"],
            "first": head["first"],
            "shown": head["commit"],
            "last": head["last"],
            "ended": head["ended"] is not None,
            "problem": None,
        }
        return [present, *(self.client.request("status").get("old_sessions") or ())]

    def records(self, first: int | None, count: int | None) -> Iterator[tuple[int, bytes]]:
        """Number and bytes of the records from `first` on, as they are there."""
        number = max(self.head["first"], first or 0)
        end = self.head["last"] + 1 if count is None else min(self.head["last"] + 1, number + count)
        while number < end:
            page = self.client.request("log", first=number, count=min(PAGE_RECORDS, end - number))["records"]
            if not page:
                return
            for text in page:
                try:
                    yield number, bytes.fromhex(text)
                except (ValueError, TypeError):
                    raise ControlError(
                        f"{self.name} gave record {number} as something that is not bytes"
                    ) from None
                number += 1

    def dump(self, first: int | None, count: int | None) -> Iterator[dict[str, Any]]:
        """Records as plain values; as `inspection.dump` gives them."""
        for number, record in self.records(first, count):
            yield inspection.as_plain(number, memoryview(record))

    def verify(self) -> tuple[int, list[str]]:
        """Check every record; returns how many there were, and a sentence about each that is damaged."""
        done, problems = 0, []
        total = self.head["last"] - self.head["first"] + 1
        for number, record in self.records(None, None):
            try:
                check_record(record, number)
            except DamagedRecord as error:
                problems.append(str(error))
            done += 1
        if done != total:
            problems.append(f"records {self.head['first'] + done} to {self.head['last']} cannot be read")
        return done, problems
