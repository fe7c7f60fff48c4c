"""Suite ``startup``: a second run until its first round, and a device's training process from start to exit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from experiments.bench.child import Ended, run_child
from experiments.bench.orders import subnet_order
from experiments.bench.results import Comparison, Measurement, SuiteResult, measured
from experiments.bench.settings import Settings
from experiments.bench.timing import Timing
from experiments.recipes import find_recipe
from fl_sparse.config import from_mapping, to_mapping
from fl_sparse.data.sources import load_images
from fl_sparse.encoder import encoder_spec
from fl_sparse.features import Features, feature_key, stored_features
from fl_sparse.federation import check_data
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.model.mlp import MLPSpec
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.file import save_shard
from fl_sparse.wire import content_of_order, refusal_of

CAVEATS = (
    "second run: a new process whose store holds the first run's features; from after the imports to the start of "
    "round 1, so reading features, round 0's question and evaluating the untrained model are in it",
    "device: the order comes from a file and the reply goes to one, where a deployment has a socket; starting Python "
    "and importing NumPy and Flower are in the time",
    "device: S = 4 of 768-1000-1000-10, Adam, 20 steps of 64, 1,000 examples with stored features",
)


def check_data_dir(folder: str) -> None:
    """Refuse a data folder that the runs' own source cannot read.

    Raises
    ------
    InputError
        That of the source.
    """
    recipe, overrides = _job(folder)
    config = from_mapping({**find_recipe(recipe)[1], **overrides}, source=f"recipe {recipe}")
    check_data(config)
    load_images(config.dataset, config.data_dir, data_seed=config.data_seed)


def _job(data_dir: str) -> tuple[str, dict[str, Any]]:
    """Return the recipe that is run, and what is overridden."""
    return ("ist-gap/ist-4", {"data-dir": str(Path(data_dir).absolute())}) if data_dir else ("demo", {})


def run(settings: Settings) -> SuiteResult:
    """Time both in a store of their own."""
    store = settings.out / "store"
    environment = {"FL_SPARSE_STORE": str(store)}
    try:
        runs = _second_run(settings, environment)
        device = _device(settings, environment, store)
    finally:
        shutil.rmtree(store, ignore_errors=True)
    (found, judged, series), (more, also, rest) = runs, device
    return SuiteResult("startup", (*found, *more), (*judged, *also), CAVEATS, series | rest)


def _second_run(
    settings: Settings, environment: dict[str, str]
) -> tuple[list[Measurement], list[Comparison], dict[str, Any]]:
    recipe, overrides = _job(settings.data_dir)
    name = "CIFAR-10" if settings.data_dir else "digits"
    if settings.quick:
        overrides |= {"mask-ratio": 0.95, "train-images": 100}
    runs: list[Ended] = []
    for number in range(2 if settings.quick else 6):
        settings.told(f"startup: run {number + 1} of {recipe}")
        folder = settings.out / "run"
        try:
            runs.append(
                run_child("experiments.bench.first_round", [recipe, json.dumps(overrides), str(folder)], environment)
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    until = Timing(runs[0].said["until_first_round"], tuple(ended.said["until_first_round"] for ended in runs[1:]))
    imports = Timing(runs[0].said["imports"], tuple(ended.said["imports"] for ended in runs[1:]))
    measurements = [
        measured(f"{name}: until round 1, after imports", until, "s"),
        measured(f"{name}: imports", imports, "s"),
    ]
    goal = "≤ 0.5" if settings.data_dir else ""
    judged = Comparison(f"{name}: second run until round 1", until.median, *until.quartiles()[::2], goal, "s")
    return measurements, [judged], {"runs": [dict(ended.said) for ended in runs], "recipe": recipe}


def _device(
    settings: Settings, environment: dict[str, str], store: Path
) -> tuple[list[Measurement], list[Comparison], dict[str, Any]]:
    width, widths, examples = (12, (16, 16), 50) if settings.quick else (768, (1000, 1000), 1000)
    folder = settings.out / "device"
    folder.mkdir()
    try:
        files = _device_files(folder, store, width, widths, examples)
        ended = []
        for number in range(2 if settings.quick else 10):
            settings.told(f"startup: device process {number + 1}")
            ended.append(run_child("experiments.bench.device_process", [str(file) for file in files], environment))
        reply = recorddict_from_proto(ProtoRecordDict.FromString(files[-1].read_bytes()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if (refused := refusal_of(reply)) is not None or reply.metric_records["metrics"]["num-examples"] != examples:
        raise RuntimeError(f"the device did not train: {refused}")
    lasted = Timing(ended[0].seconds, tuple(process.seconds for process in ended[1:]))
    peaks = [process.said["peak_bytes"] / 1e6 for process in ended]
    measurements = [
        measured("device: start to exit", lasted, "s"),
        Measurement("device: peak memory", "MB", float(np.median(peaks)), min(peaks), max(peaks), n=len(peaks)),
    ]
    comparisons = [
        Comparison("device: start to exit", lasted.median, *lasted.quartiles()[::2], goal="≤ 1", unit="s"),
        Comparison("device: peak memory", max(peaks), goal="≤ 120", unit="MB"),
    ]
    return measurements, comparisons, {"device": {"seconds": lasted.steady, "peak MB": peaks}}


def _device_files(
    folder: Path, store: Path, width: int, widths: tuple[int, ...], examples: int
) -> tuple[Path, Path, Path]:
    """Write a shard with stored features of this width, the settings of a node, and an order."""
    config = from_mapping({"pooling": "cls"}, source="benchmark")
    shard = folder / "device.shard"
    spec = encoder_spec(config.encoder)
    images, _ = load_images("digits", "", data_seed=0)
    made = build_shard(
        images,
        np.arange(examples),
        mask=MaskSpec("random", 0.5),
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        data_seed=0,
        split="train",
    )
    save_shard(shard, made)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((1, examples, width), dtype=np.float32)
    (store / "features").mkdir(parents=True, exist_ok=True)
    # Random numbers under the shipped encoder's name, of the width that is to be timed: this store is thrown away.
    key = feature_key(made.header.digest, f"{spec.digest}-{config.encoder_normalization}", config.precision)
    stored_features(store / "features", key, lambda: Features.of(features, features))
    settings = folder / "settings.json"
    node = {"partition-id": 0, "shard": str(shard)}
    settings.write_text(json.dumps({"run-config": to_mapping(config), "node-config": node}), encoding="utf-8")
    order, _ = subnet_order(MLPSpec(width, widths, 10), 4, 1, expects_standardizer=False)
    message = folder / "order.bin"
    message.write_bytes(recorddict_to_proto(content_of_order(order)).SerializeToString())
    return settings, message, folder / "reply.bin"
