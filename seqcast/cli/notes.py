"""What is worth knowing about a node, in a few words beside its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqcast.config import Configuration


def notes_of(
    configuration: Configuration, name: str, answer: dict[str, Any], primary: dict[str, Any] | None
) -> list[str]:
    """Return what is worth knowing about one node, most important first."""
    if not answer["up"]:
        return [str(answer["trouble"])]
    notes = [
        (answer.get("session") != configuration.session, f"serves another session, {answer.get('session')}"),
        (answer.get("fingerprint") != configuration.fingerprint(), "runs with another configuration"),
        (answer.get("ended"), f"the session ended at {answer.get('ended')}"),
        (answer.get("handover"), f"hands over to {answer.get('handover')}"),
    ]
    chosen = [note for holds, note in notes if holds]
    if answer.get("role") == "primary":
        return chosen + _notes_of_primary(name, answer, primary)
    return chosen + _notes_of_follower(name, answer, primary)


def _notes_of_primary(name: str, answer: dict[str, Any], primary: dict[str, Any] | None) -> list[str]:
    notes = []
    if answer.get("refusing") and not answer.get("ended"):
        notes.append(f"refuses messages: {answer['refusing']}")
    if primary is not None and primary["name"] != name:
        notes.append(f"does not know yet that {primary['name']} is primary of epoch {primary['epoch']}")
    return notes


def _notes_of_follower(name: str, answer: dict[str, Any], primary: dict[str, Any] | None) -> list[str]:
    notes = []
    promised = answer.get("promised") or {}
    if promised.get("epoch", 0) > answer.get("epoch", 0):
        notes.append(f"has promised epoch {promised['epoch']} to {promised['owner']}")
    if answer.get("vote_missing"):
        notes.append(f"does not vote: {answer['vote_missing']}")
    elif answer.get("votes") and primary is not None and not _counted(name, primary):
        notes.append(f"does not count for {primary['name']}")
    following = answer.get("following")
    suspicion = f" ({answer['suspicion']})" if answer.get("suspicion") else ""
    return [*notes, f"follows {following}" if following else f"follows nobody{suspicion}"]


def _counted(name: str, primary: dict[str, Any]) -> bool:
    """Whether the primary counts what a voter holds; true where it does not say."""
    follower = (primary.get("followers") or {}).get(name)
    return "followers" not in primary or bool(follower and follower["votes"])
