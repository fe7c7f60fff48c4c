"""Stacks that the stacked MLP and the network under autograd are both given, and how far two results are apart."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.learn.absent_classes import AbsentClasses
from fl_sparse.learn.batches import batch_rows
from fl_sparse.learn.descent import OptimizerState, moment_names
from fl_sparse.learn.mlp_stack.stack import train_stack
from fl_sparse.learn.network_stack.mlp import AutogradMLP
from fl_sparse.learn.network_stack.train import train_network
from fl_sparse.learn.ordered_dropout import OrderedDropout
from fl_sparse.learn.stack import StackInput, StackResult
from fl_sparse.learn.stacked_data import Batches
from fl_sparse.model.mlp import MLPSpec, init_parameters
from tests.fl_sparse.learn.mlp_stack.stack_jobs import OPTIMIZERS, TOLERANCE

FEATURES, CLASSES = 8, 5


@dataclass(frozen=True)
class Job:
    spec: MLPSpec
    stack: StackInput

    @property
    def starts(self) -> list[dict[str, np.ndarray]]:
        held = self.stack.parameters
        return [{name: values[a] for name, values in held.items()} for a in range(self.stack.size)]

    def alone(self, a: int) -> "Job":
        """The stack's part a, in a stack of its own."""
        some, stack = slice(a, a + 1), self.stack
        state = stack.state and OptimizerState(
            stack.state.steps[some],
            {
                moment: {name: values[some] for name, values in held.items()}
                for moment, held in stack.state.moments.items()
            },
        )
        own = replace(
            stack,
            parameters={name: values[some] for name, values in stack.parameters.items()},
            scales=[scale[some] for scale in stack.scales],
            data=stack.data.piece(some),
            ordered=stack.ordered and stack.ordered.piece(some),
            absent=stack.absent and stack.absent.piece(some),
            state=state,
        )
        return Job(self.spec, own)

    def with_batches(self, rows: np.ndarray) -> "Job":
        return Job(self.spec, replace(self.stack, data=replace(self.stack.data, rows=rows)))

    def autograd(self, ops: TorchOps | None = None) -> StackResult:
        return train_network(AutogradMLP(), self.spec, self.stack, ops or TorchOps())

    def by_hand(self, ops: ArrayOps) -> StackResult:
        return train_stack(self.spec, self.stack, ops)


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
    absent=None,
    distilled=None,
    carried=False,
    idle=False,
    seed=0,
) -> Job:
    """``distilled`` is None without ordered dropout; ``idle`` takes the examples of some steps but the last away."""
    rng = np.random.default_rng(seed)
    spec = MLPSpec(FEATURES, tuple(widths), CLASSES, activation, normalization, skip)
    parts = len(sizes)
    starts = [init_parameters(spec, seed + a) for a in range(parts)]
    for values in starts:
        values |= {n: v + rng.normal(0, 0.1, v.shape).astype(np.float32) for n, v in values.items() if ".norm." in n}
        if skip:
            values["skip.weight"] = rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)
            values["skip.bias"] = rng.normal(size=CLASSES).astype(np.float32)
    parameters = {name: np.stack([values[name] for values in starts]) for name in starts[0]}
    total = max(sizes) if own else sum(sizes)
    shape = (parts, total) if own else (total,)
    firsts = np.zeros(parts, dtype=int) if own else np.cumsum([0, *sizes[:-1]])
    labels = rng.integers(0, CLASSES, shape)
    rows = np.full((parts, steps, min(batch, max(sizes))), -1)
    present = np.zeros((parts, CLASSES), dtype=bool)
    for a, size in enumerate(sizes):
        drawn = batch_rows(size, batch, seed=seed, partition_id=a, first_step=3, steps=steps)
        rows[a, :, : drawn.shape[1]] = np.where(drawn < 0, -1, drawn + firsts[a])
        present[a, (labels[a] if own else labels)[firsts[a] : firsts[a] + size]] = True
    if idle:
        rows[:, :-1][rng.random((parts, steps - 1)) < 0.4] = -1
    features = rng.normal(size=(*shape, FEATURES)).astype(np.float32)
    drawn_widths = np.stack([rng.integers(1, width + 1, (parts, steps)) for width in widths], -1) if widths else None
    moments = {
        moment: {name: (0.1 * rng.random(values.shape)).astype(np.float32) for name, values in parameters.items()}
        for moment in moment_names(optimizer)
    }
    stack = StackInput(
        parameters,
        [
            np.array([1.0 if layer == 0 else 1 + (a + layer) % 3 for a in range(parts)])
            for layer in range(len(spec.layers))
        ],
        Batches(features, labels, rows),
        optimizer,
        ordered=None if distilled is None or drawn_widths is None else OrderedDropout(drawn_widths, distilled),
        absent=None if absent is None else AbsentClasses(present, absent),
        state=OptimizerState(rng.integers(1, 9, parts), moments) if carried else None,
        keep_state=True,
    )
    return Job(spec, stack)


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
        absent=st.sampled_from([None, "masked", "zeroed"]),
        distilled=st.sampled_from([None, False, True]) if normalization == "none" else st.none(),
        carried=st.booleans(),
        idle=st.booleans(),
        seed=st.integers(0, 1000),
    )


# LayerNorm over one or two units has a gradient of zero, of which float32 leaves rounding alone.
jobs = st.one_of(jobs_of("none", 1), jobs_of("layer", 4))


def distance(start, one, other) -> float:
    """L2 distance of two trained parts, over how far they are from the start and a hundredth of the start itself."""

    def norm(left, right) -> float:
        return float(np.sqrt(sum(np.square(np.float64(left[name]) - right[name]).sum() for name in start)))

    return norm(one, other) / (norm(other, start) + 0.01 * norm(start, dict.fromkeys(start, 0.0)))


def of(result: StackResult, a: int) -> dict[str, np.ndarray]:
    return {name: values[a] for name, values in result.parameters.items()}


def arrays_of(result: StackResult) -> dict[str, np.ndarray]:
    """Everything that a result holds, by name."""
    state = result.optimizer_state
    assert state is not None
    moments = {f"{moment} {name}": values for moment, held in state.moments.items() for name, values in held.items()}
    return {**result.parameters, **moments, "loss": result.loss, "steps": state.steps}


def assert_agree(job: Job, a: int, one: StackResult, b: int, other: StackResult) -> None:
    """Part a of one result and part b of another are the same up to rounding."""
    tolerance = TOLERANCE[job.spec.normalization]
    assert distance(job.starts[a], of(one, a), of(other, b)) < tolerance
    np.testing.assert_allclose(one.loss[a], other.loss[b], rtol=1e-4, atol=1e-5)
    left, right = one.optimizer_state, other.optimizer_state
    assert left is not None
    assert right is not None
    assert left.steps[a] == right.steps[b]
    for moment, held in left.moments.items():
        assert list(held) == list(right.moments[moment])
        apart = [(values[a], right.moments[moment][name][b]) for name, values in held.items()]
        far = np.sqrt(sum(np.square(np.float64(x) - y).sum() for x, y in apart))
        assert far <= 10 * tolerance * (np.sqrt(sum(np.square(np.float64(y)).sum() for _, y in apart)) + 0.01), moment
