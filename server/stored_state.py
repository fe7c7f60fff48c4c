"""The stored state of an unfinished run: its newest checkpoint with the records up to it, or advice if damaged."""

from __future__ import annotations

import json
from pathlib import Path

from fl_sparse.errors import InputError
from server.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, stored_checkpoints
from server.records import RoundRecord, from_json
from server.run_folder import RunFolder, read_records


def stored_state(folder: RunFolder) -> tuple[Checkpoint, list[RoundRecord]] | None:
    """Return the newest checkpoint of a run and the records up to its round, None if it has no checkpoint yet.

    Raises
    ------
    InputError
        If the checkpoint or a record up to it is damaged or missing. Nothing is passed over silently: the message says
        what to delete for the run to go on from an earlier round.
    """
    try:
        stored = latest_checkpoint(folder.checkpoints)
        if stored is None:
            return None
        records = read_records(folder, up_to=stored.round)
        if [record.round for record in records] != list(range(stored.round + 1)):
            raise InputError(
                f"{folder.metrics_file} lacks rounds up to {stored.round}, which the checkpoint is of; "
                "the run cannot go on from it"
            )
    except InputError as error:
        raise InputError(f"{error}{_advice(folder)}") from None
    return stored, records


def _advice(folder: RunFolder) -> str:
    """Return what to delete, so that the run can go on from the latest undamaged round."""
    whole, is_damaged = _whole_rounds(folder)
    found = stored_checkpoints(folder.checkpoints)
    for place in range(len(found) - 1, -1, -1):
        number = _round_of(found[place])
        if number is None or number >= whole:
            continue
        steps = [f"{path.parent.name}/{path.name}" for path in found[place + 1 :]]
        if is_damaged:
            steps.append(f"the lines of {folder.metrics_file.name} from {whole + 1} on")
        return f"; to go on from round {number}, delete {' and '.join(steps)}"
    return "; no earlier round can be gone on from: start the run anew in another folder"


def _round_of(path: Path) -> int | None:
    try:
        return load_checkpoint(path).round
    except InputError:
        return None


def _whole_rounds(folder: RunFolder) -> tuple[int, bool]:
    """Return how many of the first rounds have a record, and whether a damaged line follows them."""
    try:
        lines = folder.metrics_file.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError):
        return 0, False
    for number, line in enumerate(lines):
        try:
            record = from_json(json.loads(line), source="")
        except (ValueError, AttributeError):  # InputError is a ValueError, as what json raises is
            return number, True
        if record.round != number:
            return number, False
    return len(lines), False
