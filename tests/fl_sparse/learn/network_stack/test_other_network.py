"""A network that is no MLP: attention over tokens, whose heads are an axis, against each part alone in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fl_sparse.array_ops import TorchOps
from fl_sparse.learn.absent_classes import AbsentClasses
from fl_sparse.learn.network_stack.train import train_network
from fl_sparse.learn.optimizers import OptimizerSpec
from fl_sparse.learn.stack import StackInput
from fl_sparse.learn.stacked_data import Batches
from fl_sparse.learn.task import TrainingJob
from fl_sparse.model.network import NetworkSpec
from fl_sparse.model.parameters import CLASSES, Model, ParameterSpec
from tests.fl_sparse.learn.network_stack.network_jobs import distance, of

TOKENS, DIM, HEADS, WIDTH, C = 3, 4, 2, 5, 3


@dataclass(frozen=True)
class AttentionSpec:
    num_classes: int = C

    @property
    def shared_axes(self) -> dict[str, int]:
        return {"heads": HEADS}

    @property
    def model(self) -> Model:
        view = (3, HEADS, WIDTH, DIM)
        return {
            "qkv": ParameterSpec((3 * HEADS * WIDTH, DIM), (None, "heads", None, None), view=view),
            "proj": ParameterSpec((DIM, HEADS * WIDTH), (None, "heads", None), view=(DIM, HEADS, WIDTH)),
            "position": ParameterSpec((TOKENS, DIM), (None, None), trained=False, role="bias"),
            "output": ParameterSpec((C, DIM), (CLASSES, None)),
        }


class Attention:
    def spec(self, job: TrainingJob) -> AttentionSpec:
        return AttentionSpec()

    def forward(
        self,
        spec: NetworkSpec,
        parameters: Mapping[str, Tensor],
        x: Tensor,
        scales: Sequence[Tensor | float],
        present: Sequence[Tensor] | None = None,
        whole_rows: int = 0,
    ) -> Tensor:
        stack, rows = x.shape[:2]
        h = x.view(stack, rows, TOKENS, DIM) + parameters["position"][:, None]
        flat = h.reshape(stack, rows * TOKENS, DIM)
        for _ in range(2):  # the block's weights are used twice
            mixed = torch.bmm(flat, parameters["qkv"].mT).view(stack, rows, TOKENS, 3, HEADS, WIDTH)
            q, k, v = mixed.permute(3, 0, 1, 4, 2, 5)
            told = functional.scaled_dot_product_attention(q, k, v).transpose(2, 3)
            flat = flat + torch.bmm(told.reshape(stack, rows * TOKENS, -1), parameters["proj"].mT)
        pooled = flat.view(stack, rows, TOKENS, DIM).mean(dim=2)
        # The softmax's output is what its pass backward needs.
        return torch.bmm(pooled, parameters["output"].mT).softmax(dim=-1)


@pytest.mark.parametrize("optimizer", [OptimizerSpec("sgd", 0.3), OptimizerSpec("adam", 0.01, epsilon=1e-3)], ids=str)
def test_attention_is_trained_as_each_part_alone(optimizer: OptimizerSpec) -> None:
    rng = np.random.default_rng(1)
    spec, network = AttentionSpec(), Attention()
    starts = {name: rng.normal(0, 0.5, (3, *p.shape)).astype(np.float32) for name, p in spec.model.items()}
    features, labels = rng.normal(size=(20, TOKENS * DIM)).astype(np.float32), rng.integers(0, C, 20)
    rows = rng.integers(0, 20, (3, 6, 4))
    rows[1, 2, 2:] = rows[2, 4] = -1
    data = Batches(features, labels, rows)
    # No class is absent, but the logits are covered: autograd keeps its own.
    absent = AbsentClasses(np.ones((3, C), dtype=bool), "zeroed")
    result = train_network(network, spec, StackInput(starts, (), data, optimizer, absent=absent), TorchOps())
    for a in range(3):
        own = {name: torch.tensor(values[a : a + 1], dtype=torch.float64) for name, values in starts.items()}
        trained = [own[name].requires_grad_() for name, parameter in spec.model.items() if parameter.trained]
        if optimizer.name == "adam":
            steps = torch.optim.Adam(trained, optimizer.learning_rate, eps=optimizer.epsilon)
        else:
            steps = torch.optim.SGD(trained, optimizer.learning_rate)
        for batch in rows[a]:
            held = batch[batch >= 0]
            if len(held):
                x = torch.tensor(features[held], dtype=torch.float64)[None]
                logits = network.forward(spec, own, x, ())[0]
                steps.zero_grad()
                functional.cross_entropy(logits, torch.tensor(labels[held])).backward()
                steps.step()
        start, expected = {n: v[a] for n, v in starts.items()}, {n: v.detach().numpy()[0] for n, v in own.items()}
        assert all((expected[name] != start[name]).any() for name, one in spec.model.items() if one.trained)
        assert distance(start, of(result, a), expected) < 5e-5
    assert result.parameters["position"].tobytes() == starts["position"].tobytes()
