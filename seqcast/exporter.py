"""The exporter: `/metrics`, `/healthz` and `/readyz` of nodes, in a process of its own.

A node is one thread that runs turns; an HTTP server in it would be a second one, which takes the interpreter from it
in the middle of a turn. So the exporter stands beside the nodes: it listens to what they publish anyway, and a scraper
that is slow, or asks a thousand times a second, costs no message anything. One exporter serves all nodes of a machine;
each has its own paths, with its name behind. A node whose loop stands still publishes nothing, so it is not healthy,
although its process is there: that is more than a thread inside it could tell.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, field
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from seqcast.exposition import metrics
from seqcast.health import why_not_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from seqcast.settings import Configuration
    from seqcast.watch import Sighting, Watch

REQUESTS_AT_ONCE = 16
"""Requests that are answered at the same time; a connection beyond them is closed."""

REQUEST_SECONDS = 5.0
"""How long a client may take for its request, and for reading the answer."""

STOP_SECONDS = 0.05
"""How soon the thread that accepts connections notices that it is to end."""

TURN_MS = 500
"""How often connections are looked at that take too long."""

METRICS_PATH, HEALTH_PATH, READY_PATH = "metrics", "healthz", "readyz"


@define(eq=False)
class Exporter:
    """Serves what `watch` sees at `host` and `port`; 0 takes a free port. Raises OSError naming them."""

    configuration: Configuration
    watch: Watch
    host: str
    port: int
    refused: int = field(default=0, init=False)
    """Connections that were closed because there were too many, or took too long."""
    _server: _Server = field(init=False)
    _thread: threading.Thread = field(init=False)
    _stopping: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._server = _Server((self.host, self.port), self)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(f"cannot listen at {self.host}:{self.port}: {reason}") from None
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_SECONDS,), name="http", daemon=True
        )
        self._thread.start()

    def run(self) -> None:
        """Listen to the nodes until `stop`, or an exception such as ctrl-C."""
        while not self._stopping:
            self.watch.wait(TURN_MS)
            self._server.close_slow()

    def stop(self) -> None:
        """End `run`."""
        self._stopping = True

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # what is served

    def answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body for a path."""
        what, _, name = path.partition("?")[0].strip("/").partition("/")
        sightings = self.watch.sightings()
        if name:
            chosen = sightings.get(name.upper())
            if chosen is None:
                return _text(
                    HTTPStatus.NOT_FOUND, f"there is no node {name[:40]!r} here: {', '.join(sightings)}"
                )
            sightings = {chosen.name: chosen}
        match what:
            case "metrics":
                registry = CollectorRegistry(auto_describe=False)
                registry.register(_Collector(self.configuration, sightings))
                encoder, content_type = choose_encoder(accept)
                return HTTPStatus.OK, content_type, encoder(registry)
            case "healthz":
                return _verdict(sightings, lambda _sighting: None)
            case "readyz":
                return _verdict(sightings, self._why_not_ready)
            case "" if not name:
                paths = [f"/{each}" for each in (METRICS_PATH, HEALTH_PATH, READY_PATH)]
                lines = [*paths, *(f"{path}/{name}" for name in sightings for path in paths)]
                return _text(HTTPStatus.OK, "\n".join(lines))
        return _text(
            HTTPStatus.NOT_FOUND, "there are /metrics, /healthz and /readyz, alone or with a node behind"
        )

    def _why_not_ready(self, sighting: Sighting) -> str | None:
        return why_not_ready(self.configuration, sighting.status or {})


def _verdict(
    sightings: Mapping[str, Sighting], trouble_of: Callable[[Sighting], str | None]
) -> tuple[HTTPStatus, str, bytes]:
    """Whether all is well with every one of the nodes: 200, else 503; and what is wrong, as JSON."""
    found = {name: each.trouble or trouble_of(each) for name, each in sightings.items()}
    ok = not any(found.values())
    body = {"ok": ok, "nodes": {name: {"ok": not why, "why": why} for name, why in found.items()}}
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(body).encode("ascii") + b"\n"


def _text(status: HTTPStatus, sentence: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/plain; charset=utf-8", sentence.encode("utf-8") + b"\n"


@define(eq=False)
class _Collector:
    configuration: Configuration
    sightings: Mapping[str, Sighting]

    def collect(self) -> Iterator[Metric]:
        """Every metric, for the registry."""
        return metrics(self.configuration, self.sightings)


class _Server(ThreadingHTTPServer):
    """A thread a request, and a bounded number of them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * REQUESTS_AT_ONCE  # beyond what is answered at once: those are told so

    def __init__(self, address: tuple[str, int], exporter: Exporter) -> None:
        self.exporter = exporter
        self._open: dict[Any, float] = {}
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, if there are not too many."""
        if len(self._open) >= REQUESTS_AT_ONCE:
            self.exporter.refused += 1
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic() + REQUEST_SECONDS
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The end of a connection, however it came."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def close_slow(self) -> None:
        """End the connections that have taken too long."""
        now = time.monotonic()
        for request, due in list(self._open.items()):
            if now > due:
                self.exporter.refused += 1
                self._open[request] = float("inf")
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:  # it has just ended
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone while it is answered is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "seqcast"
    sys_version = ""
    timeout: ClassVar[float] = REQUEST_SECONDS

    def do_GET(self) -> None:
        """Answer."""
        self._answer(body_wanted=True)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(body_wanted=False)

    def _answer(self, *, body_wanted: bool) -> None:
        status, content_type, body = self.server.exporter.answer(self.path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if body_wanted:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name of the library)
        """Nothing: a scrape is no event."""
