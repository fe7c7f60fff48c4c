"""Readouts against slow computations and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from fl_sparse.probe.linear import accuracy_of, fit_logistic, fit_ridge, linear_probe
from fl_sparse.probe.measurement import READOUTS, Labelled, measure
from fl_sparse.probe.neighbours import TEMPERATURE, nearest_neighbours


def blobs(count: int, classes: int = 3, width: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, width)) * 1.5
    labels = rng.integers(0, classes, count)
    values = centres[labels] + rng.standard_normal((count, width))
    return torch.from_numpy(values).float(), torch.from_numpy(labels)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.integers(1, 12))
def test_neighbours_written_out(seed: int, k: int) -> None:
    train, labels = blobs(30, seed=seed)
    test, _ = blobs(7, seed=seed + 1)
    found = nearest_neighbours(train, labels, test, num_classes=3, k=k)
    for row, value in enumerate(test.double().numpy()):
        similarity = [
            float(value @ other / np.linalg.norm(value) / np.linalg.norm(other)) for other in train.double().numpy()
        ]
        votes = [0.0] * 3
        for index in sorted(range(30), key=lambda i: -similarity[i])[:k]:
            votes[int(labels[index])] += np.exp(similarity[index] / TEMPERATURE)
        assert votes[int(found[row])] == pytest.approx(max(votes), rel=1e-4)


def test_more_neighbours_than_images() -> None:
    train, labels = blobs(5)
    assert nearest_neighbours(train, labels, train, num_classes=3, k=20).shape == (5,)


@pytest.mark.parametrize("penalty", [1.0, 1e-2])
def test_logistic_regression_equals_scikit_learn(penalty: float) -> None:
    x, y = blobs(200)
    found = fit_logistic(x.double(), y, 3, penalty)
    expected = LogisticRegression(C=1 / (200 * penalty), tol=1e-10, max_iter=1000).fit(x.double().numpy(), y.numpy())
    np.testing.assert_allclose(found.weight.T, expected.coef_, atol=1e-3)
    np.testing.assert_allclose(
        torch.softmax(found(x.double()), 1), expected.predict_proba(x.double().numpy()), atol=1e-3
    )


def test_logistic_regression_forgets_where_it_began() -> None:
    x, y = blobs(100)
    first = fit_logistic(x.double(), y, 3, 0.1)
    again = fit_logistic(x.double(), y, 3, 0.1, fit_logistic(x.double(), y, 3, 10.0))
    torch.testing.assert_close(first.weight, again.weight, atol=1e-3, rtol=1e-3)


def test_ridge_equals_scikit_learn() -> None:
    x, y = blobs(100)
    found = fit_ridge(x, y, 3, 0.05)
    expected = Ridge(alpha=0.05 * 100).fit(x.double().numpy(), np.eye(3)[y.numpy()])
    np.testing.assert_allclose(found.weight.T, expected.coef_, atol=1e-5)
    np.testing.assert_allclose(found.bias, expected.intercept_, atol=1e-5)


def test_penalty_is_the_best_on_held_out_images_only() -> None:
    x, y = blobs(90, width=60)
    validation = torch.arange(0, 90, 3)
    rest = torch.tensor([i for i in range(90) if i % 3])
    penalties = (100.0, 1.0, 1e-2, 1e-4)
    _, penalty = linear_probe(x, y, validation, num_classes=3, fit=fit_ridge, penalties=penalties)
    scores = {
        p: accuracy_of(fit_ridge(x[rest], y[rest], 3, p)(x[validation]).argmax(1), y[validation]) for p in penalties
    }
    assert penalty == max(penalties, key=lambda p: (scores[p], p))


def test_probe_is_refitted_on_all_images() -> None:
    x, y = blobs(60)
    found, penalty = linear_probe(x, y, torch.arange(6), num_classes=3, fit=fit_ridge, penalties=(0.1,))
    torch.testing.assert_close(found.weight, fit_ridge(x, y, 3, penalty).weight)


def test_scale_and_shift_of_features_do_not_matter() -> None:
    (x, y), (x_test, y_test) = blobs(120), blobs(50, seed=1)
    scale, shift = np.float32([10, 0.1, 1, 3, 7]), np.float32([5, -3, 0, 1, 100])
    plain = measure(
        Labelled(x.numpy(), y.numpy()), Labelled(x_test.numpy(), y_test.numpy()), np.arange(12), num_classes=3
    )
    moved = measure(
        Labelled(x.numpy() * scale + shift, y.numpy()),
        Labelled(x_test.numpy() * scale + shift, y_test.numpy()),
        np.arange(12),
        num_classes=3,
    )
    assert set(plain) == set(READOUTS)
    for readout in READOUTS:
        assert plain[readout][0] == pytest.approx(moved[readout][0], abs=0.021)
        assert plain[readout][0] > 0.7
