"""`seqcast log import`: sessions out of captures and BinaryFILE."""

from __future__ import annotations

import ipaddress
import json
import mmap
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from rewinder.policy import SEGMENT_BYTES
from seqcast.capture import Capture, CaptureError
from seqcast.cli.common import (
    USER_NAME,
    Failed,
    configuration_option,
    counted,
    examples,
    json_option,
    load,
    sigterm_as_interrupt,
)
from seqcast.cli.logs import SUFFIXES, optional_configuration
from seqcast.cli.progress import Meter
from seqcast.config import shown
from seqcast.feeds import FeedReader, open_input
from seqcast.importing import Imported, ImportFailed, OnGap, import_file, import_found
from seqcast.scan import Scan
from seqcast.settings import DATAGRAM_BYTES_ETHERNET
from sequencer.process import payload_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqcast.settings import Configuration

IMPORT_FORMATS = ("binaryfile", "pcap")

SMALL_SEGMENT_BYTES = 1 << 20
"""Least size of the segments that are made for an import."""


@click.command(
    "import",
    epilog=examples(
        "seqcast log import day.pcap --node REW1",
        "seqcast log import --as REPLAY1 day.itch run/log/REW1",
        "seqcast log import capture.pcapng --port 26477 --on-gap fill --node REW1",
    ),
)
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--node", metavar="NAME", help="Node that is to have it, in place of DIR.")
@click.option("--format", "format_name", type=click.Choice(IMPORT_FORMATS), help="[default: as FILE ends]")
@click.option("--session", metavar="NAME", help="For captures: only this session [default: all].")
@click.option("--as", "name", metavar="NAME", help="Call it so here [default: as in the capture].")
@click.option(
    "--on-gap",
    type=click.Choice([each.value for each in OnGap]),
    default=OnGap.REFUSE.value,
    show_default=True,
    help="What to do about messages that a capture lacks.",
)
@click.option("--group", metavar="ADDRESS", help="For captures: only what goes to this address.")
@click.option("--port", type=click.IntRange(1, 65_535), help="For captures: only what goes to this UDP port.")
@click.option(
    "--first", type=click.IntRange(min=1), default=1, help="For BinaryFILE: number of the first one."
)
@click.option(
    "--time", type=click.DateTime(), help="For BinaryFILE: UTC stamp [default: when FILE was changed]."
)
@click.option(
    "--sender",
    default="IMPORT",
    type=USER_NAME,
    show_default=True,
    help="Sender of messages without a stamp.",
)
@configuration_option
@json_option
def import_(
    *,
    source: str,
    directory: Path | None,
    node: str | None,
    config: Path | None,
    as_json: bool,
    format_name: str | None,
    name: str | None,
    **options: Any,
) -> None:
    """Make FILE, a capture of MoldUDP64 or a BinaryFILE, a session that a rewinder can replay.

    DIR is the directory of a node. Records of a stream of ours are taken as they are; the messages of another stream
    are stamped with the times of the capture, and keep their numbers. Packets that came twice or out of order do not
    matter. It is marked to be kept (`seqcast log keep`).
    """
    target = _node_directory(directory, node, config)
    format_name = format_name or SUFFIXES.get(Path(source).suffix, "binaryfile")
    if format_name not in IMPORT_FORMATS:
        raise click.UsageError(f"{format_name} cannot be imported: {' and '.join(IMPORT_FORMATS)} can")
    options["segment_bytes"] = _segment_bytes(Path(source).stat().st_size, optional_configuration(config))
    options["sender"] = options["sender"].encode("ascii").ljust(6)
    with sigterm_as_interrupt(), Meter("importing", quiet=as_json) as meter:
        try:
            values = (_import_capture if format_name == "pcap" else _import_binaryfile)(
                source, target, name, meter, **options
            )
        except KeyboardInterrupt:
            raise Failed("interrupted; what was being imported is not there") from None
    if as_json:
        click.echo(json.dumps({"directory": str(target), **values}))
    else:
        for line in _told(values):
            click.echo(line)
    for problem in values["problems"]:
        click.echo(f"Error: {problem}", err=True)
    if values["problems"]:
        raise SystemExit(1)


def _import_capture(
    source: str,
    target: Path,
    name: str | None,
    meter: Meter,
    *,
    session: str | None,
    on_gap: str,
    group: str | None,
    port: int | None,
    sender: bytes,
    segment_bytes: int,
    **_options: Any,
) -> dict[str, Any]:
    """Import the sessions of a capture; one that cannot be is a problem, and no harm to the others."""
    address = None if group is None else _address(group)
    with _mapped(source) as view:
        scan = Scan(Capture(view, source), address, port)
        scan.run(lambda done, total: meter.show(0, f"looking: {100 * done // total} %"))
        chosen = [found for found in scan.with_messages() if session in (None, found.name)]
        if not chosen:
            there = ", ".join(found.name or "one without a name" for found in scan.with_messages()) or "none"
            raise Failed(f"{source}: no message of session {session or 'any'} in it; there are: {there}")
        if name is not None and len(chosen) > 1:
            raise click.UsageError(f"--as names one session, and there are {len(chosen)}: --session chooses")
        imported, problems = [], []
        for found in chosen:
            if not found.name and name is None:
                problems.append("a session without a name: --as gives it one")
                continue
            try:
                done = import_found(
                    scan,
                    found,
                    target,
                    name or found.name,
                    on_gap=OnGap(on_gap),
                    sender=sender,
                    segment_bytes=segment_bytes,
                    progress=meter.show,
                )
            except ImportFailed as error:
                problems.append(str(error))
            else:
                imported.append(attrs.asdict(done))
    capture = scan.capture
    return {
        "sessions": imported,
        "problems": problems,
        "frames": capture.frames,
        "datagrams": scan.datagrams,
        "elsewhere": scan.elsewhere,
        "other": scan.other,
        "skipped": dict(capture.skipped),
        "cut_short": capture.cut_short,
    }


def _import_binaryfile(
    source: str,
    target: Path,
    name: str | None,
    meter: Meter,
    *,
    first: int,
    time: datetime | None,
    sender: bytes,
    segment_bytes: int,
    **_options: Any,
) -> dict[str, Any]:
    if name is None:
        raise click.UsageError("a BinaryFILE does not say which session it is: --as names it")
    time_ns = Path(source).stat().st_mtime_ns
    if time is not None:
        time_ns = int(time.replace(tzinfo=UTC).timestamp()) * 10**9
    if not 0 <= time_ns < 1 << 63:
        raise click.UsageError("a stamp lies between 1970 and 2262: --time says another")
    with open_input(source) as stream:
        done: Imported = import_file(
            FeedReader(stream, "binaryfile", name=source),
            target,
            name,
            time_ns=time_ns,
            first=first,
            sender=sender,
            segment_bytes=segment_bytes,
            fragment_bytes=payload_limit(DATAGRAM_BYTES_ETHERNET),
            progress=meter.show,
        )
    return {"sessions": [attrs.asdict(done)], "problems": []}


def _address(text: str) -> int:
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError:
        raise click.UsageError(f"--group {text!r} is not an IPv4 address") from None


def _told(values: dict[str, Any]) -> Iterator[str]:
    """The outcome for people."""
    for each in values["sessions"]:
        what = "record" if each["records"] else "message"
        parts = [
            f"session {each['session']}: {counted(each['messages'], what)}, numbers {each['first']} to {each['last']}"
        ]
        parts += ["it ended"] if each["ended"] else []
        parts += [f"{counted(each['repeats'], 'repeat')} dropped"] if each["repeats"] else []
        parts += [f"{each['conflicts']:,} OF THEM DIFFERENT FROM THE FIRST"] if each["conflicts"] else []
        parts += [f"{counted(each['out_of_order'], 'packet')} out of order"] if each["out_of_order"] else []
        if each["gaps"]:
            filled = (
                f"filled with {counted(each['filled'], 'empty record')}"
                if each["filled"]
                else "stopped before them"
            )
            parts.append(f"{counted(len(each['gaps']), 'gap')}, {filled}")
        yield "; ".join(parts)
    skipped = {
        **values.get("skipped", {}),
        "not MoldUDP64": values.get("other", 0),
        "to elsewhere": values.get("elsewhere", 0),
    }
    told = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items() if count)
    if told:
        yield f"not looked at: {told}"
    if values.get("cut_short"):
        yield "the file ends within a frame: it was cut short"


@contextmanager
def _mapped(path: str) -> Iterator[memoryview]:
    """The bytes of a file, which is not read before they are looked at."""
    with Path(path).open("rb") as stream:
        try:
            view = memoryview(mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ))
        except ValueError:
            raise CaptureError(f"{path}: the file is empty") from None
    yield view


def _node_directory(directory: Path | None, node: str | None, config: Path | None) -> Path:
    """The directory of the node that is to have a session."""
    if (directory is None) == (node is None):
        raise click.UsageError("say where it is to go: DIR, or --node NAME")
    if directory is not None:
        if not directory.is_dir():
            raise Failed(f"{shown(directory)}: there is no such directory")
        return directory
    assert node is not None
    path = load(config).node_directory(node)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _segment_bytes(file_bytes: int, configuration: Configuration | None) -> int:
    """Segments of the usual size, or smaller ones for what is small."""
    most = SEGMENT_BYTES if configuration is None else configuration.log.segment_bytes
    return min(most, max(SMALL_SEGMENT_BYTES, 2 * file_bytes))
