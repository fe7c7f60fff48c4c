"""Stacks of MLPs to train, and how far two results are apart."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.features.statistics import Standardizer
from fl_sparse.learn.batches import batch_rows
from fl_sparse.learn.mlp_stack.stack import train_stack
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.stack import StackInput, StackResult
from fl_sparse.learn.stacked_data import Batches
from fl_sparse.model.mlp import MLPSpec, init_parameters

OPTIMIZERS = [
    OptimizerSpec("sgd", 0.1),
    OptimizerSpec("sgd", 0.1, momentum=0.9),
    OptimizerSpec("sgd", 0.1, proximal=0.5),
    OptimizerSpec("sgd", 0.05, momentum=0.5, proximal=1.0),
    # A gradient that is all rounding moves a weight by a full step of Adam's, unless epsilon is above the rounding.
    OptimizerSpec("adam", 0.003, epsilon=1e-3),
    OptimizerSpec("adam", 0.003, proximal=0.5, beta1=0.8, beta2=0.99, epsilon=1e-3),
]
ADAM = OptimizerSpec("adam", 0.003)
OPS = {"numpy": ArrayOps, "torch": TorchOps}
# Relative L2 distance (as `distance` takes it): from float64 training, another stacking, or the other ops.
# LayerNorm over few units divides by small differences: torch's own float32 training is as far from float64 there.
TOLERANCE = {"none": 5e-5, "layer": 1e-3}


@dataclass(frozen=True)
class Job:
    spec: MLPSpec
    parameters: list[dict[str, np.ndarray]]
    scales: tuple[np.ndarray, ...]
    features: np.ndarray
    labels: np.ndarray
    batches: np.ndarray
    optimizer: OptimizerSpec

    def input(self, chosen: list[int] | None = None, standardizer: Standardizer | None = None, **options) -> StackInput:
        """Return the stack of some of the parts, or of all; the options are of `StackInput`."""
        chosen = list(range(len(self.parameters))) if chosen is None else chosen
        own = self.features.ndim == 3
        return StackInput(
            parameters={name: [self.parameters[a][name] for a in chosen] for name in self.parameters[0]},
            scales=tuple(scale[chosen] for scale in self.scales),
            data=Batches(
                self.features[chosen] if own else self.features,
                self.labels[chosen] if own else self.labels,
                self.batches[chosen],
                standardizer,
            ),
            optimizer=self.optimizer,
            **options,
        )

    def run(self, ops: ArrayOps, chosen: list[int] | None = None, **options) -> StackResult:
        return train_stack(self.spec, self.input(chosen, **options), ops)


def make_job(
    *,
    widths=(9, 7),
    sizes=(11, 6, 3),
    batch=4,
    steps=7,
    optimizer=OPTIMIZERS[0],
    activation="relu",
    normalization="none",
    skip=False,
    own=False,
    seed=0,
) -> Job:
    rng = np.random.default_rng(seed)
    spec = MLPSpec(8, tuple(widths), 5, activation, normalization, skip)
    parameters = [init_parameters(spec, seed + a) for a in range(len(sizes))]
    for values in parameters:
        for name in values:
            if ".norm." in name:
                values[name] += rng.normal(0, 0.1, values[name].shape).astype(np.float32)
        if skip:
            values["skip.weight"] = rng.normal(size=(5, 8)).astype(np.float32)
            values["skip.bias"] = rng.normal(size=5).astype(np.float32)
    total = max(sizes) if own else sum(sizes)
    shape = (len(sizes), total) if own else (total,)
    starts = np.zeros(len(sizes), dtype=int) if own else np.cumsum([0, *sizes[:-1]])
    batches = np.full((len(sizes), steps, min(batch, max(sizes))), -1)
    for a, size in enumerate(sizes):
        rows = batch_rows(size, batch, seed=seed, partition_id=a, first_step=3, steps=steps)
        batches[a, :, : rows.shape[1]] = np.where(rows < 0, -1, rows + starts[a])
    return Job(
        spec,
        parameters,
        tuple(
            np.array([1.0 if layer == 0 else 1 + (a + layer) % 3 for a in range(len(sizes))])
            for layer in range(len(widths) + 1)
        ),
        rng.normal(size=(*shape, 8)).astype(np.float32),
        rng.integers(0, 5, shape),
        batches,
        optimizer,
    )


def jobs_of(normalization: str, least_width: int) -> st.SearchStrategy[Job]:
    return st.builds(
        make_job,
        widths=st.lists(st.integers(least_width, 12), max_size=3),
        sizes=st.lists(st.integers(1, 13), min_size=1, max_size=5),
        batch=st.integers(1, 6),
        steps=st.integers(1, 8),
        optimizer=st.sampled_from(OPTIMIZERS),
        activation=st.sampled_from(["relu", "gelu"]),
        normalization=st.just(normalization),
        skip=st.booleans(),
        own=st.booleans(),
        seed=st.integers(0, 1000),
    )


# LayerNorm over one or two units has a gradient of zero, of which float32 leaves rounding alone.
jobs = st.one_of(jobs_of("none", 1), jobs_of("layer", 4))


def distance(job: Job, a: int, one, other) -> float:
    """L2 distance of two trained parts, over how far they are from the start and a hundredth of the start itself.

    The latter, since float32 weights cannot show a change that is small against them.
    """

    def norm(left, right) -> float:
        return float(np.sqrt(sum(np.square(np.float64(left[name]) - right[name]).sum() for name in job.parameters[a])))

    start = job.parameters[a]
    return norm(one, other) / (norm(other, start) + 0.01 * norm(start, dict.fromkeys(start, 0.0)))


def of(result: StackResult, a: int) -> dict[str, np.ndarray]:
    return {name: values[a] for name, values in result.parameters.items()}


def assert_same_bits(one: StackResult, other: StackResult) -> None:
    for name, values in one.parameters.items():
        assert values.tobytes() == other.parameters[name].tobytes(), name
    assert one.loss.tobytes() == other.loss.tobytes()
