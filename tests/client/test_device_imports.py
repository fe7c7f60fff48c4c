"""A device whose features are stored trains with NumPy and Flower alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from fl_sparse.data.sources import load_images
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.file import save_shard

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
import numpy as np
from flwr.app import Context, Message, RecordDict
from client.app import app
from fl_sparse.config import RunConfig, from_mapping, to_mapping
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.task import HeldPart, Task, TrainingJob
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import Standardizing, TrainOrder, content_of_order
from server.flower_private import identify_process, number_message

encoder, shard = sys.argv[1:]
config = to_mapping(from_mapping({"encoder": encoder}, source="test"))
identify_process(1, 1)
context = Context(1, 7, {"partition-id": 0, "shard": shard}, RecordDict(), config)
task = Task("relu", "none", OptimizerSpec("adam", 0.001), local_steps=2, batch_size=8, seed=0)
part = HeldPart(init_parameters(MLPSpec(32, (8, 8), 10), 0), scales=(1.0, 1.0, 1.0))
order = TrainOrder(1, 0, TrainingJob(task, 0, part), Standardizing(expected=False, sent=None))
message = Message(content_of_order(order), 7, "train")
number_message(message)
reply = app(message, context)
assert int(reply.content.metric_records["metrics"]["num-examples"]) == 50
print("\\n".join(sorted(sys.modules)))
"""


def modules(encoder: str, shard: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, encoder, str(shard)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_stored_second_run_imports_neither_torch_nor_timm(tiny_encoder: str, tmp_path: Path) -> None:
    images, _ = load_images("digits", "", data_seed=0)
    mask = MaskSpec("random", 0.5)
    shard = build_shard(images, np.arange(50), mask=mask, image_size=8, patch_size=2, data_seed=0, split="train")
    save_shard(tmp_path / "device.shard", shard)
    assert "torch" in modules(tiny_encoder, tmp_path / "device.shard")  # the first run encodes
    second = modules(tiny_encoder, tmp_path / "device.shard")
    assert {"numpy", "flwr", "client.app"} <= second
    heavy = {"torch", "timm", "torchvision", "ray", "matplotlib", "datasets"}
    assert not heavy & second
