"""`seqcast log keep` and `seqcast log export`: what becomes of sessions, and how they get into other formats."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rewinder.retention import KEEP_FILE
from seqcast.cli.common import (
    Failed,
    configuration_option,
    counted,
    examples,
    json_option,
    load,
    sigterm_as_interrupt,
    summary,
    written_whole,
)
from seqcast.cli.logs import SUFFIXES, directory_of, line_of, log_options, optional_configuration
from seqcast.cli.progress import Meter
from seqcast.columns import COLUMN_FORMATS, ColumnFile
from seqcast.config import shown
from seqcast.exporting import BinaryFile, Content, PacketFile, batches, open_log
from seqcast.feeds import STANDARD_STREAM
from seqcast.pcap import CaptureWriter
from seqcast.settings import DATAGRAM_BYTES_ETHERNET, Line

if TYPE_CHECKING:
    from typing import BinaryIO

    from rewinder.log import MessageLog
    from seqcast.exporting import Target
    from seqcast.settings import Configuration

EXPORT_FORMATS = ("binaryfile", "pcap", *COLUMN_FORMATS)
LINE = Line("239.0.0.1", 20_000)
"""Where exported packets go, where no configuration says it."""


@click.command(epilog=examples("seqcast log keep 26112501", "seqcast log keep 26112501 --release"))
@click.argument("session")
@click.option("--node", metavar="NAME", help="Only there [default: every node of this machine that has it].")
@click.option("--release", is_flag=True, help="It may go again.")
@configuration_option
@json_option
def keep(session: str, node: str | None, release: bool, config: Path | None, as_json: bool) -> None:
    """Mark a session to be kept, whatever `keep` in the configuration says."""
    configuration = load(config)
    names = [configuration.node(node).name] if node else [each.name for each in configuration.nodes]
    there = [name for name in names if (configuration.node_directory(name) / session).is_dir()]
    if not there:
        raise Failed(f"there is no session {session} at {', '.join(names)}")
    for name in there:
        mark = configuration.node_directory(name) / session / KEEP_FILE
        if release:
            mark.unlink(missing_ok=True)
        else:
            mark.touch()
    state = "may be removed again" if release else "is kept"
    values = {"session": session, "nodes": there, "kept": not release}
    summary(values, f"session {session} {state} at {', '.join(there)}", as_json=as_json)


@click.command(
    epilog=examples(
        "seqcast log export day.itch --session 26112501",
        "seqcast log export day.pcap run/log/REW1/26112501",
        "seqcast log export day.parquet --first 1000 --count 500",
    )
)
@click.argument("output")
@log_options
@click.option("--session", metavar="NAME", help="Session [default: the present one].")
@click.option("--format", "format_name", type=click.Choice(EXPORT_FORMATS), help="[default: as OUTPUT ends]")
@click.option(
    "--content",
    type=click.Choice([each.value for each in Content]),
    default=Content.MESSAGES.value,
    show_default=True,
    help="For BinaryFILE: the messages, or the records with their stamps.",
)
@click.option("--first", type=click.IntRange(min=1), help="First record [default: the first that is kept].")
@click.option(
    "--count", type=click.IntRange(min=1), help="How many records [default: all that are committed]."
)
@click.option("--to", "line", metavar="GROUP:PORT", help="For pcap: where the packets go [default: line A].")
@click.option("--datagram-bytes", type=click.IntRange(64, 65_507), help="For pcap: largest packet.")
def export(
    *,
    output: str,
    directory: Path | None,
    node: str | None,
    config: Path | None,
    as_json: bool,
    session: str | None,
    format_name: str | None,
    content: str,
    first: int | None,
    count: int | None,
    line: str | None,
    datagram_bytes: int | None,
) -> None:
    """Export a session of a log to the file OUTPUT ("-": standard output), also while its node is running.

    BinaryFILE (what `seqcast send` reads), pcap (the MoldUDP64 packets of line A, at the times of the stamps, to the
    nanosecond), Parquet or Arrow (needs `seqcast[arrow]`). What is not known to be committed is not exported.
    """
    path = directory_of(directory, node, config, session)
    format_name = format_name or SUFFIXES.get(Path(output).suffix, "binaryfile")
    configuration = optional_configuration(config)
    with closing(open_log(path)) as log, sigterm_as_interrupt():
        start = max(first or log.first, log.first)
        last = log.commit if count is None else min(log.commit, start + count - 1)
        if start > last:
            raise Failed(
                f"{shown(path)}: no record from {start} on is known to be committed; {log.commit} is the last"
            )
        try:
            with written_whole(output) as stream:
                target = _target(stream, format_name, log, configuration, content, line, datagram_bytes)
                with Meter("exporting", max(0, last + 1 - start), quiet=as_json) as meter:
                    for records in batches(log, start, last):
                        target.take(records)
                        meter.show(records.number(len(records) - 1) + 1 - start)
                    ended = log.ended is not None and log.ended == last
                    target.finish(last + 1, ended=ended)
        except KeyboardInterrupt:
            raise Failed("interrupted; nothing was written") from None
        values = {
            "session": log.session.decode("ascii").strip(),
            "format": format_name,
            "first": start,
            "last": last,
            "exported": target.count,
            "ended": ended,
            "output": output,
        }
    noun = "record" if format_name == "pcap" or content == Content.RECORDS.value else "message"
    text = f"{counted(target.count, noun)} of session {values['session']}, records {start} to {last}, are in {output}"
    summary(values, text, as_json=as_json, error=output == STANDARD_STREAM)


def _target(
    stream: BinaryIO,
    format_name: str,
    log: MessageLog,
    configuration: Configuration | None,
    content: str,
    line: str | None,
    datagram_bytes: int | None,
) -> Target:
    """What writes the format."""
    if format_name in COLUMN_FORMATS:
        return ColumnFile(stream, format_name, log.session.decode("ascii").strip())
    if format_name == "binaryfile":
        return BinaryFile(stream, Content(content))
    to = LINE if configuration is None else configuration.multicast.lines[0]
    default = DATAGRAM_BYTES_ETHERNET if configuration is None else configuration.multicast.datagram_bytes
    to = to if line is None else line_of(line)
    return PacketFile(CaptureWriter(stream, to.group, to.port), log.session, datagram_bytes or default)
