"""Linear probes: logistic regression and ridge regression, their penalty chosen on held-out training images.

Shapes: n images · F features · C classes. A linear map is (F, C) with a bias (C,), applied as ``x @ weight + bias``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LOGISTIC_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
RIDGE_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
ITERATIONS = 200
TOLERANCE = 1e-5
"""Largest gradient at which a search ends."""
CHANGE = 1e-7
"""Change of the loss at which it ends as well."""


@dataclass(frozen=True)
class LinearMap:
    """Class scores of features."""

    weight: Tensor
    """(F, C)"""
    bias: Tensor
    """(C,)"""

    def __call__(self, features: Tensor) -> Tensor:
        """Return scores (n, C)."""
        return features @ self.weight + self.bias


Fit = Callable[[Tensor, Tensor, int, float, LinearMap | None], LinearMap]


def fit_logistic(
    features: Tensor, labels: Tensor, num_classes: int, penalty: float, start: LinearMap | None = None
) -> LinearMap:
    """Minimise mean cross-entropy + penalty/2 · ‖weight‖² by L-BFGS over all images at once.

    ``features`` is float (n, F), ``labels`` int64 (n,). ``start`` is where the search begins, such as the solution at a
    larger penalty; the minimum does not depend on it.

    Notes
    -----
    The search runs in coordinates V, weight = U·diag(d)·V, where U are the principal axes of the features, s their
    variances, and d = 1/√(c·s + penalty), with c = (1 − 1/C)/C the curvature of the cross-entropy at uniform scores:
    the same minimum, with about equal curvature in all directions, in a third of the time.
    """
    variances, axes = torch.linalg.eigh((features.T @ features / len(features)).double())
    curvature = (1 - 1 / num_classes) / num_classes
    scale = 1 / (curvature * variances.clamp(min=0) + penalty).sqrt()
    turned = features @ (axes * scale).to(features.dtype)
    shrink = (penalty * scale.square())[:, None].to(features.dtype)
    if start is None:
        weight = features.new_zeros(features.shape[1], num_classes)
        bias = features.new_zeros(num_classes)
    else:
        weight = ((axes.T @ start.weight.double()) / scale[:, None]).to(features.dtype)
        bias = start.bias.clone()
    weight.requires_grad_()
    bias.requires_grad_()
    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=CHANGE,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        search.zero_grad()
        data_term = functional.cross_entropy(torch.addmm(bias, turned, weight), labels)
        loss: Tensor = data_term + 0.5 * (shrink * weight.square()).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        search.step(objective)  # type: ignore[no-untyped-call]
    found = (axes * scale) @ weight.detach().double()
    return LinearMap(found.to(features.dtype), bias.detach())


def fit_ridge(
    features: Tensor, labels: Tensor, num_classes: int, penalty: float, start: LinearMap | None = None
) -> LinearMap:
    """Minimise ‖x·weight + bias − one-hot‖²/n + penalty · ‖weight‖², in float64, in closed form.

    ``start`` is not needed and not used.
    """
    wide = features.double()
    targets = functional.one_hot(labels, num_classes).double()
    mean, target_mean = wide.mean(dim=0), targets.mean(dim=0)
    centred = wide - mean
    gram = centred.T @ centred / len(wide)
    gram.diagonal().add_(penalty)
    weight = torch.linalg.solve(gram, centred.T @ (targets - target_mean) / len(wide))
    return LinearMap(weight.to(features.dtype), (target_mean - mean @ weight).to(features.dtype))


def linear_probe(
    features: Tensor,
    labels: Tensor,
    validation: Tensor,
    *,
    num_classes: int,
    fit: Fit,
    penalties: tuple[float, ...],
) -> tuple[LinearMap, float]:
    """Fit on all images with the penalty that does best on some of them when these are held out.

    Parameters
    ----------
    features, labels
        float (n, F) and int64 (n,), the training images.
    validation
        int64, rows of the images held out to choose the penalty.
    num_classes
        C.
    fit
        `fit_logistic` or `fit_ridge`.
    penalties
        Tried from the largest to the smallest, each search from the last one's end; of equals the largest wins.

    Returns
    -------
    The map and its penalty.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    held_out[validation] = True
    seen, seen_labels = features[~held_out], labels[~held_out]
    best, best_penalty, best_accuracy = None, penalties[0], -1.0
    found: LinearMap | None = None
    for penalty in sorted(penalties, reverse=True):
        found = fit(seen, seen_labels, num_classes, penalty, found)
        accuracy = accuracy_of(found(features[held_out]).argmax(dim=1), labels[held_out])
        if accuracy > best_accuracy:
            best, best_penalty, best_accuracy = found, penalty, accuracy
    return fit(features, labels, num_classes, best_penalty, best), best_penalty


def accuracy_of(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of predictions that are right, 0 to 1."""
    return float((predicted == labels).double().mean())
