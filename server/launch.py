"""Where a run writes: options of the command, not of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_sparse.config import FIELDS, RunConfig, from_mapping
from fl_sparse.errors import KEYS_LIST, InputError, nearest
from server.run_folder import RunFolder, check_new, create_run_folder, next_name, open_unfinished

OPTIONS = ("out", "name", "resume")
"""Keys that ``[tool.flwr.app.config]`` holds beside the configuration, since ``flwr run`` takes no other options."""


@dataclass(frozen=True)
class Launch:
    """Where a run writes: ``out/name``, or the folder of a run to go on with."""

    out: str = ""
    name: str = ""
    resume: str = ""

    def path(self, recipe: str) -> Path:
        """Return the run's folder; without a name, ``<recipe>-<next free number>``."""
        if self.resume:
            return Path(self.resume)
        out = Path(self.out or "runs")
        return out / (self.name or next_name(out, recipe))

    def check(self, config: RunConfig, recipe: str) -> Path:
        """Refuse, before any work, a folder that cannot be used; return it.

        Raises
        ------
        InputError
            See `server.run_folder.check_new` and `open_unfinished`.
        """
        if self.resume and (self.out or self.name):
            raise InputError("resume goes on in its own folder; leave out and name away")
        if any(separator in self.name for separator in "/\\\0") or self.name in (".", ".."):
            raise InputError(f"name = {self.name!r}; expected a folder's name without separators")
        path = self.path(recipe)
        if self.resume:
            open_unfinished(path, config)
        else:
            check_new(path)
        return path

    def open(self, config: RunConfig, path: Path) -> RunFolder:
        """Create the run's folder, or reopen it."""
        return open_unfinished(path, config) if self.resume else create_run_folder(path, config)


def split_run_config(values: Mapping[str, Any], *, source: str) -> tuple[RunConfig, Launch]:
    """Split Flower's run configuration into the configuration and the launch options.

    Raises
    ------
    InputError
        For an unknown key or a value that the configuration refuses.
    """
    options = {key: values[key] for key in OPTIONS if key in values}
    for key, value in options.items():
        if not isinstance(value, str):
            raise InputError(f"{source}: {key} = {value!r} is no text")
    unknown = [key for key in values if key not in FIELDS and key not in OPTIONS]
    if unknown:
        close = nearest(unknown[0], [*FIELDS, *OPTIONS], see=KEYS_LIST)
        raise InputError(f"{source}: unknown key {unknown[0]!r}{close}")
    rest = {key: value for key, value in values.items() if key in FIELDS}
    return from_mapping(rest, source=source), Launch(**options)
