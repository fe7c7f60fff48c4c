"""A private SuperLink: it has a port and a Flower home of its own, and is ended by its process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fl_sparse.errors import InputError

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # Use the packages of this environment: otherwise `flwr run` would call a package manager.
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
CONNECTION = "own"


@dataclass(frozen=True)
class SuperLink:
    """A running SuperLink: its process id, port, environment for the other commands, and log file."""

    pid: int
    port: int
    environment: Mapping[str, str]
    log: Path


def executable(name: str) -> str:
    """Return the path of one of Flower's commands beside this Python."""
    return str(Path(sys.executable).parent / name)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def own_superlink(home: Path, *, simulation: bool, patience: float = 60.0) -> Iterator[SuperLink]:
    """Start a SuperLink on loopback; end it, with everything it started, on leaving.

    ``home`` becomes Flower's home folder, with a connection named ``own`` to this SuperLink.

    Raises
    ------
    InputError
        If it does not start.
    """
    port = free_port()
    # Put this environment first: Flower starts its other commands by name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, **QUIET, "FLWR_HOME": str(home), "PATH": path}
    home.mkdir(parents=True, exist_ok=True)
    connection = {"address": f"127.0.0.1:{port}", "insecure": True}
    connections = {"superlink": {"default": CONNECTION, CONNECTION: connection}}
    (home / "config.toml").write_text(tomli_w.dumps(connections), encoding="utf-8")
    command = [executable("flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--simulation"] if simulation else []
    command += ["--disable-runtime-dependency-installation"]
    log = home / "superlink.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _await_health(process, port, log, patience)
        yield SuperLink(process.pid, port, environment, log)
    finally:
        end_process_group(process)
        _end_stragglers(home)


def _end_stragglers(home: Path) -> None:
    """End the processes that the SuperLink detached: their environment names its home (Linux only)."""
    mark = f"FLWR_HOME={home}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue


def end_process_group(process: subprocess.Popen[bytes], *, patience: float = 10.0) -> None:
    """End a process that leads its own process group, and the rest of the group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        # The leader is gone; stragglers of its group get the second signal.
    process.wait(patience)


def _await_health(process: subprocess.Popen[bytes], port: int, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise InputError(f"flower-superlink ended with code {process.returncode}: {last_line(log)}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise InputError(f"flower-superlink did not answer on port {port} within {patience:g} s: {last_line(log)}")


def last_line(log: Path) -> str:
    """Return the last line of a log, for a message."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "its log is empty"
