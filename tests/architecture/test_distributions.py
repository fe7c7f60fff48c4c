"""What is shipped: a wheel with the library alone, and a bundle with the app alone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from server.network import QUIET, executable

ROOT = Path(__file__).resolve().parents[2]


def sources(package: str, pattern: str = "*.py") -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob(pattern)}


def test_the_wheel_holds_the_library_and_its_encoder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    extras = {"fl_sparse/py.typed", "fl_sparse/encoder/shipped/encoder.safetensors"}
    assert names == sources("fl_sparse") | extras
    assert wheel.stat().st_size < 13_000_000


def test_the_bundle_holds_the_app_and_leaves_the_library_to_the_installed_one(tmp_path: Path) -> None:
    environment = {**os.environ, **QUIET, "FLWR_HOME": str(tmp_path / "home")}
    command = [executable("flwr"), "build", "--app", str(ROOT)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)
    (bundle,) = tmp_path.glob("*.fab")
    with zipfile.ZipFile(bundle) as archive:
        names = {name for name in archive.namelist() if not name.startswith(".info/")}
    app = sources("client") | sources("server") | sources("strategies")
    assert names == app | {"pyproject.toml", "LICENSE"}
