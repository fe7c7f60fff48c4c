"""A node's refusal to answer, with the reason."""

from __future__ import annotations

from flwr.app import ConfigRecord, RecordDict

from fl_sparse.wire.arrays import CONFIG, record_of


def content_of_refusal(reason: str) -> RecordDict:
    """Return the content of a reply that refuses, with the reason."""
    return RecordDict({CONFIG: ConfigRecord({"refused": reason})})


def refusal_of(content: RecordDict) -> str | None:
    """Return the reason of a refusal; None if the reply is none."""
    config = record_of(content, CONFIG, ConfigRecord)
    return str(config["refused"]) if config is not None and "refused" in config else None
