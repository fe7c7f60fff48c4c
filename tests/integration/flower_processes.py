"""Real processes: runs through Flower's own commands, compared with the same job in this process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from fl_sparse.model.mlp import MLPSpec, init_parameters
from server.network import SuperLink, end_process_group, executable, free_port
from server.run_folder import read_config

ROOT = Path(__file__).resolve().parents[2]


def movement_error(folder: Path, reference: Path) -> float:
    """Return ‖(θ − θ₀) − (θ' − θ₀)‖ / ‖θ' − θ₀‖ over all weights, θ' the reference's."""
    found, expected = (_weights(path / "model.safetensors") for path in (folder, reference))
    config = read_config(reference)
    spec = MLPSpec.of_parameters(expected, activation=config.activation, normalization=config.normalization)
    start = init_parameters(spec, config.seed)
    names = list(expected)
    assert found.keys() == expected.keys()
    apart = sum(float(np.square(found[name].astype(np.float64) - expected[name]).sum()) for name in names)
    moved = sum(float(np.square(expected[name].astype(np.float64) - start[name]).sum()) for name in names)
    return float(np.sqrt(apart / moved))


def flwr_run(superlink: SuperLink, settings: Path, *more: str, timeout: float = 240) -> str:
    """Run ``flwr run`` to its end and return what it printed."""
    command = [executable("flwr"), "run", str(ROOT), "own", "--stream", "--run-config", str(settings), *more]
    done = subprocess.run(
        command, env=dict(superlink.environment), capture_output=True, text=True, timeout=timeout, check=False
    )
    return done.stdout + done.stderr


@contextmanager
def supernode(superlink: SuperLink, node_config: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a SuperNode until leaving."""
    command = [executable("flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{superlink.port}"]
    command += ["--port", str(free_port()), "--node-config", node_config]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=dict(superlink.environment), stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        end_process_group(process)


def _weights(path: Path) -> dict[str, np.ndarray]:
    return {name: values for name, values in load_file(path).items() if not name.startswith("standardizer.")}
