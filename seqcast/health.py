"""Whether a node does what it is there for, as far as its status says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seqcast.settings import Configuration

MISSING_RECORDS = 100_000
"""A follower that lacks more committed records than a busy tenth of a second brings has not caught up."""


def why_not_ready(configuration: Configuration, status: Mapping[str, Any]) -> str | None:
    """Why a node that runs does not serve; None when it does.

    A primary serves when its epoch is committed and messages may enter, or the session has ended; any other node when
    it follows a primary, has caught up with it, and votes if it is a voter. So a node that was upgraded is ready when
    the next may go down.
    """
    if status.get("session") != configuration.session:
        return f"it serves another session, {status.get('session')}"
    if status.get("fingerprint") != configuration.fingerprint():
        return "it runs with another configuration"
    role = status.get("role")
    if role == "primary":
        return _why_not_leading(configuration, status)
    return "it tries to become primary" if role == "candidate" else _why_not_following(status)


def _why_not_following(status: Mapping[str, Any]) -> str | None:
    if status.get("following") is None:
        suspicion = status.get("suspicion")
        return f"it follows nobody{f': {suspicion}' if suspicion else ''}"
    if status.get("vote_missing"):
        return f"it does not vote: {status['vote_missing']}"
    if (status.get("missing") or 0) > MISSING_RECORDS:
        return f"it lacks {status['missing']:,} records that are committed"
    return None


def _why_not_leading(configuration: Configuration, status: Mapping[str, Any]) -> str | None:
    if status.get("ended") is not None:
        return None
    present, needed = 1 + len(status.get("in_contact") or ()), configuration.write_quorum
    if present < needed:
        return f"it commits nothing: {present} of {needed} voters that are needed take part"
    if not status.get("established"):
        return f"epoch {status.get('epoch')} is not committed yet"
    if status.get("refusing"):
        return f"it refuses messages: {status['refusing']}"
    return None
