"""Slow, independent versions of what the library computes fast, by loops, float64 and autograd, to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

Parameters = Mapping[str, np.ndarray]


def logits(parameters: Mapping[str, torch.Tensor], x: torch.Tensor, scales: Sequence[float], spec: Any) -> torch.Tensor:
    """One MLP's logits by the formula of its page, z = c · (W h) + b, with torch's own layers."""
    h = x
    for layer in range(len(spec.hidden_widths)):
        name = f"hidden.{layer}"
        h = scales[layer] * (h @ parameters[f"{name}.weight"].T) + parameters[f"{name}.bias"]
        if spec.normalization == "layer":
            gain, shift = parameters[f"{name}.norm.weight"], parameters[f"{name}.norm.bias"]
            h = torch.nn.functional.layer_norm(h, h.shape[-1:], gain, shift)
        h = torch.relu(h) if spec.activation == "relu" else torch.nn.functional.gelu(h, approximate="tanh")
    out = scales[-1] * (h @ parameters["output.weight"].T) + parameters["output.bias"]
    if "skip.weight" in parameters:
        out = out + x @ parameters["skip.weight"].T + parameters["skip.bias"]
    return out


def train(
    parameters: Parameters,
    scales: Sequence[float],
    features: np.ndarray,
    labels: np.ndarray,
    batches: np.ndarray,
    optimizer: Any,
    spec: Any,
    absent: tuple[Sequence[int], float] = ((), 0.0),
) -> tuple[dict[str, np.ndarray], float]:
    """One subnet, one step after another, by autograd and torch.optim in float64; returns parameters and mean loss.

    ``absent`` names classes and the constant that stands for their logits.
    """
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in parameters.items()}
    trained = [tensor.requires_grad_() for name, tensor in tensors.items() if not name.startswith("skip.")]
    start = [tensor.detach().clone() for tensor in trained]
    steps = (
        torch.optim.Adam(trained, optimizer.learning_rate, (optimizer.beta1, optimizer.beta2), optimizer.epsilon)
        if optimizer.name == "adam"
        else torch.optim.SGD(trained, lr=optimizer.learning_rate, momentum=optimizer.momentum)
    )
    losses = []
    for batch in batches:
        rows = batch[batch >= 0]
        if not len(rows):
            continue
        x, y = torch.tensor(features[rows], dtype=torch.float64), torch.tensor(labels[rows])
        outputs = list(logits(tensors, x, scales, spec).unbind(dim=1))
        for absence in absent[0]:
            outputs[absence] = torch.full_like(outputs[absence], absent[1])
        loss = torch.nn.functional.cross_entropy(torch.stack(outputs, dim=1), y)
        losses.append(loss.item())
        apart = sum(((one - other) ** 2).sum() for one, other in zip(trained, start, strict=True))
        steps.zero_grad()
        (loss + optimizer.proximal / 2 * apart).backward()
        steps.step()
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}, float(np.mean(losses or [0.0]))


def batches(num_examples: int, batch_size: int, steps: Sequence[int], permutation: Any) -> list[list[int]]:
    """The examples of each step: batch t mod E of the permutation of epoch t // E."""
    taken = []
    for step in steps:
        epochs = -(-num_examples // batch_size)
        order = list(permutation(step // epochs))
        first = (step % epochs) * batch_size
        taken.append(order[first : first + batch_size])
    return taken


def coordinates(spec: Any, part: Any) -> list[tuple[int, ...]]:
    """The coordinates of a parameter's view whose units a part holds, in row-major order, dead ones too."""
    units = [None if axis not in part.units else set(part.units[axis].tolist()) for axis in spec.axes]
    return [
        place
        for place in np.ndindex(*spec.view)
        if all(own is None or number in own for own, number in zip(units, place, strict=True))
    ]


def alive(spec: Any, name: str, part: Any) -> list[bool]:
    """Of each of these coordinates whether the part holds it alive."""
    held = coordinates(spec, part)
    return [True] * len(held) if name not in part.masks else part.masks[name].reshape(-1).tolist()


def reassemble(
    model: Any, parameters: Parameters, updates: Sequence[Any]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The weighted mean over holders, one coordinate after another; and which coordinates somebody held alive."""
    merged = {name: values.copy() for name, values in parameters.items()}
    covered = {name: np.zeros(values.shape, dtype=bool) for name, values in parameters.items()}
    for name, values in parameters.items():
        spec = model[name]
        seen = [_spread(spec, name, update) for update in updates]
        for number, coordinate in enumerate(np.ndindex(*spec.view)):
            total = weight = 0.0
            for spread, update in zip(seen, updates, strict=True):
                if coordinate in spread:
                    total += update.weight * float(spread[coordinate])
                    weight += update.weight
            if weight:
                place = np.unravel_index(number, values.shape)
                merged[name][place] = np.float32(total / weight)
                covered[name][place] = True
    return merged, covered


def _spread(spec: Any, name: str, update: Any) -> dict[tuple[int, ...], np.float32]:
    """An update's values by their coordinates in the whole parameter, of those that it holds alive."""
    places = coordinates(spec, update.part)
    values = np.asarray(update.parameters[name]).reshape(-1)
    return {
        place: value
        for place, value, lives in zip(places, values, alive(spec, name, update.part), strict=True)
        if lives
    }
