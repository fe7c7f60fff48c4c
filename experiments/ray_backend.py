"""The same job through Flower's simulation engine: ``flwr run`` on a SuperLink of its own, watched by its folder."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from fl_sparse.config import RunConfig, to_mapping
from fl_sparse.config.text import toml_text
from fl_sparse.errors import InputError
from server.launch import Launch
from server.network import CONNECTION, SuperLink, end_process_group, executable, own_superlink
from server.rounds import Watcher
from server.run_folder import RunFolder, read_records
from server.simulation import DEFAULT_CLIENTS
from strategies.registry import check_distributed, effective

ROOT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.25


def run(config: RunConfig, launch: Launch, path: Path, watcher: Watcher) -> dict[str, Any]:
    """Run the federation on Ray and return its summary.

    Raises
    ------
    InputError
        If the strategy is simulated in one process only; with the ServerApp's own line, if the run failed on a mistake
        in the input.
    """
    check_distributed(config)
    clients = config.num_clients or DEFAULT_CLIENTS
    path = path.absolute()
    values = to_mapping(config) | _launch_values(launch, path)
    with tempfile.TemporaryDirectory(prefix="fl-sparse-") as scratch:
        settings = Path(scratch) / "run-config.toml"
        settings.write_text(toml_text(values), encoding="utf-8")
        watcher.note(f"starting Flower's simulation engine with {clients} nodes")
        with own_superlink(Path(scratch) / "home", simulation=True) as superlink:
            command = [executable("flwr"), "run", str(ROOT), CONNECTION, "--stream", "--run-config", str(settings)]
            command += ["--federation-config", f"num-supernodes={clients} client-resources-num-cpus=1"]
            _watch(command, superlink, RunFolder(path), effective(config).num_server_rounds, watcher)
    return json.loads(RunFolder(path).summary_file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _launch_values(launch: Launch, path: Path) -> dict[str, str]:
    if launch.resume:
        return {"out": "", "name": "", "resume": str(path)}
    return {"out": str(path.parent), "name": path.name, "resume": ""}


def _watch(command: list[str], superlink: SuperLink, folder: RunFolder, rounds: int, watcher: Watcher) -> None:
    """Run ``flwr run --stream`` to its end; it exits with 0 even when the run failed, so the folder decides."""
    known = len(read_records(folder))
    log = superlink.log.with_name("run.log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=dict(superlink.environment), stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while True:
            ended = process.poll() is not None or folder.summary_file.exists()
            records = read_records(folder)
            for record in records[known:]:
                watcher.round(record, rounds)
            known = max(known, len(records))
            if ended:
                break
            time.sleep(POLL_SECONDS)
    finally:
        end_process_group(process)
    if not folder.summary_file.exists():
        raise InputError(_failure(log.read_text(errors="replace") + superlink.log.read_text(errors="replace")))


def _failure(text: str) -> str:
    said = re.findall(r"^.*?\berror: (.+)$", text, flags=re.MULTILINE)
    if said:
        return str(said[-1]).strip()
    lines = [line for line in text.splitlines() if line.strip()]
    return "the run failed; Flower's last words: " + (lines[-1].strip() if lines else "none")
