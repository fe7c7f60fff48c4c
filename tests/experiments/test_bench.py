"""The benchmark command: every suite leaves its JSON and a table of 80 columns; its arithmetic is exact."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.bench.command import SUITES
from experiments.bench.find_peers import find_peers, time_peers
from experiments.bench.results import Comparison
from experiments.bench.settings import Settings
from experiments.bench.suites.encode import forward_flops
from experiments.bench.timing import Timing, interleaved, ratio
from fl_sparse.encoder.load import build_model

MEASURED = {
    "rounds": {"fedavg: a round", "IST, S = 4: its bare products", "IST, S = 16: record and checkpoint"},
    "encode": {"tiny, float32, 4 images dense", "tiny, bfloat16, 4 images visible"},
    "scale": {"a round of 8 clients", "population: a round"},
    "wire": {"S = 4: bytes down and up", "S = 16: order written"},
    "startup": {"digits: until round 1, after imports", "device: start to exit", "device: peak memory"},
}


LONG = [pytest.param("startup", marks=pytest.mark.long)]


@pytest.mark.parametrize("suite", [name for name in SUITES if name != "startup"] + LONG)
def test_each_suite_leaves_its_results(suite: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "bench"
    assert main(["bench", "--quick", "--suite", suite, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines() if str(tmp_path) not in line) <= 80
    assert "say nothing about speed" in shown
    document = json.loads((out / "bench.json").read_text())
    assert document["quick"] is True
    assert document["environment"]["packages"]["numpy"]
    assert list(document["suites"]) == [suite]
    found = document["suites"][suite]
    assert MEASURED[suite] <= {entry["name"] for entry in found["measurements"]}
    assert all(entry["median"] > 0 and entry["unit"] for entry in found["measurements"])
    assert found["caveats"]
    for entry in found["comparisons"]:
        assert (entry["met"] is None) == (entry["goal"] == "")
    left = {path.name for path in out.iterdir()}
    assert left == {"bench.json", "clients-a-round.png"} if suite == "scale" else left == {"bench.json"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--suite", "round"], "unknown suite; did you mean 'rounds'?"),
        (["--suite", "wire", "--peers"], "goes with --suite rounds"),
        (["--suite", "wire", "--data-dir", "here"], "goes with --suite startup"),
        (["--suite", "startup", "--data-dir", "/no/such/folder"], "/no/such/folder"),
        (["--suite", "startup", "--data-dir", str(Path(__file__).parent)], "train.parquet"),
        (["--peer", "pfl=/bin/sh"], "goes with --peers"),
        (["--peers", "--peer", "plf=/bin/sh"], "unknown tool 'plf'; did you mean 'pfl'?"),
        (["--peers", "--peer", "pfl=/nowhere/python"], "/nowhere/python is no Python"),
        (["--device", "nowhere"], "--device nowhere"),
        (["--device", "meta", "--suite", "wire"], "--device meta: goes with --suite rounds, encode, scale"),
        (["--device", "meta", "--peers"], "other tools are timed on the CPU"),
    ],
    ids=" ".join,
)
def test_mistakes_are_said_in_one_line_before_any_work(arguments, expected, tmp_path: Path, capsys) -> None:
    out = tmp_path / "bench"
    assert main(["bench", *arguments, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_a_folder_that_holds_something_is_kept(tmp_path: Path, capsys) -> None:
    (tmp_path / "notes").write_text("mine")
    assert main(["bench", "--quick", "--suite", "wire", "--out", str(tmp_path)]) == 2
    assert "already holds something" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


@pytest.mark.long
def test_a_peer_that_is_missing_is_named_and_others_are_compared(tmp_path: Path) -> None:
    peers = {"plain": Path(sys.executable), "pfl": tmp_path / "nowhere"}
    settings = Settings(tmp_path, quick=True, peers=peers, told=lambda text: None)
    measurements, comparisons, caveats, details = time_peers(settings)
    assert len(measurements) == 2
    assert [found.name.rpartition(" ÷ ")[2] for found in comparisons] == ["ours, a round", "ours, first round"]
    assert f"pfl: not timed: there is no {tmp_path / 'nowhere'}" in caveats
    assert details["not timed"] == {"pfl": f"not timed: there is no {tmp_path / 'nowhere'}"}
    assert set(find_peers([])) == {"plain", "pfl", "fluke", "flower"}


def test_what_is_compared_is_run_in_turn() -> None:
    calls: list[str] = []
    timings = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warm_up=1)
    assert calls == ["a", "b"] * 5
    assert [len(timing.steady) for timing in timings.values()] == [3, 3]


def test_a_ratio_is_of_medians_with_the_quartiles_of_neighbours() -> None:
    found = ratio(Timing(0.0, (2.0, 4.0, 6.0)), Timing(0.0, (1.0, 1.0, 3.0)))
    assert (found.value, found.low, found.high) == (4.0, 2.0, 3.0)
    assert ratio(Timing(0.0, (2.0, 4.0)), Timing(0.0, (1.0, 2.0, 3.0))).high == 1.75


@pytest.mark.parametrize(("value", "goal", "met"), [(2.0, "≥ 2", True), (2.1, "≤ 2", False), (1.0, "", None)])
def test_a_goal_is_met_on_its_side_of_the_bound(value: float, goal: str, met: bool | None) -> None:
    assert Comparison("x", value, goal=goal).met is met


def test_flops_of_a_pass_are_what_torch_counts() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    options = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
    model = build_model("vit_tiny_patch16_224", options, "tiny").eval()
    for block in model.blocks:
        block.attn.fused_attn = False  # the counter sees only products that are written out
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.forward_features(torch.zeros(1, 3, 8, 8))
    assert forward_flops(model, 16, 16) == counter.get_total_flops()
