"""Where a node runs: what is asked of the system, and what is said when it refuses."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

import pytest

from rewinder import network
from rewinder.network import SocketNetwork
from rewinder.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def where_it_was() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_a_core_is_taken() -> None:
    core = max(os.sched_getaffinity(0))
    Placement(core=core).take()
    assert os.sched_getaffinity(0) == {core}


def test_by_default_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    monkeypatch.delattr(os, "sched_setscheduler")
    Placement().take()
    monkeypatch.undo()


def test_a_core_that_is_not_there_is_named_with_those_that_are() -> None:
    only = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {only})
    with pytest.raises(OSError, match=rf"core = 1023: .*may use core {only}$"):
        Placement(core=1023).take()


def test_a_priority_is_asked_for_with_sched_fifo(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        os, "sched_setscheduler", lambda *args: asked.append((*args[:2], args[2].sched_priority))
    )
    Placement(priority=7).take()
    assert asked == [(0, os.SCHED_FIFO, 7)]


def test_a_priority_that_is_refused_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with pytest.raises(OSError, match=r"^priority = 7: .*operation not permitted.*CAP_SYS_NICE"):
        Placement(priority=7).take()


@pytest.mark.parametrize(("granted", "lines"), [(4096, 1), (8192, 0)])
def test_a_receive_buffer_that_the_kernel_caps_is_told_once(
    granted: int, lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(network, "granted_receive_buffer", lambda _socket: granted)
    monkeypatch.setattr(network, "multicast_receiver", lambda *_args, **_options: socket.socket())
    ours = SocketNetwork()
    with caplog.at_level(logging.WARNING, "seqcast"):
        for _ in range(2):
            ours.join("239.192.14.1", 1, "127.0.0.1", 8192).close()
    assert len(caplog.messages) == lines
    assert all("sysctl -w net.core.rmem_max=8192" in message for message in caplog.messages)
