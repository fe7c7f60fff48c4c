"""Each client's accuracy: weighted by its labels, bounded in the summary, and kept in checkpoints."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_sparse.learn.evaluation import Score, evaluate_table, mean_score
from fl_sparse.learn.mlp_stack.predict import predict
from fl_sparse.model.mlp import MLPSpec, init_parameters
from fl_sparse.wire import EvaluationReply
from server.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from server.client_accuracy import (
    BY_LABELS,
    KEPT_BACK,
    MOST_LISTED,
    ClientAccuracy,
    by_client,
    summary_entries,
    weighted_by_labels,
)
from server.client_table import ClientTable

COUNTS = arrays(np.int64, (4, 3), elements=st.integers(0, 5))


def table(labels: np.ndarray | None, clients: int = 4) -> ClientTable:
    ones = np.ones(clients, dtype=np.int64)
    return ClientTable(("a", "b", "c"), np.arange(clients), ones, ones, ones, labels)


def test_a_score_counts_by_class() -> None:
    spec = MLPSpec(5, (4,), 3)
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(50, 5)).astype(np.float32), rng.integers(0, 2, 50)
    parameters = init_parameters(spec, 0)
    score = evaluate_table(parameters, spec, features, labels, batch_size=7)
    right = predict(parameters, spec, features).argmax(axis=1) == labels
    assert score.examples_by_class.tolist() == [(labels == c).sum() for c in range(3)]
    assert score.correct_by_class.tolist() == [[right[labels == c].sum() for c in range(3)]]
    assert score.accuracy == right.mean()


@given(COUNTS, arrays(np.int64, 3, elements=st.integers(0, 4)), arrays(np.int64, 3, elements=st.integers(0, 4)))
def test_accuracy_by_class_is_weighted_by_the_clients_labels(labels, right, wrong) -> None:
    found = weighted_by_labels(Score(0.0, 0.0, 1, right + wrong, right[None]), labels)
    for client, counts in enumerate(labels):
        shown = [c for c in range(3) if right[c] + wrong[c]]
        held = sum(counts[c] for c in shown)
        if not held:
            assert np.isnan(found[client])
        else:
            assert found[client] == pytest.approx(
                sum(counts[c] / held * right[c] / (right[c] + wrong[c]) for c in shown)
            )


def test_a_client_with_the_test_images_labels_has_the_test_accuracy() -> None:
    examples, right = np.array([10, 20, 5]), np.array([3, 20, 0])
    found = by_client(4, table(examples[None] * 2, 1), {"test": Score(23 / 35, 0.0, 35, examples, right[None])}, {})
    assert found is not None
    assert (found.round, found.of, found.accuracy[0]) == (4, BY_LABELS, pytest.approx(23 / 35))


def test_each_clients_own_model_counts_for_it_alone() -> None:
    examples = np.array([4, 4, 2])
    one, other = (Score(0.0, 0.0, 10, examples, np.array([right])) for right in ([4, 0, 0], [0, 3, 2]))
    labels = np.array([[5, 5, 0], [0, 1, 3]])
    np.testing.assert_allclose(weighted_by_labels(mean_score([one, other]), labels), [0.5, 0.25 * 0.75 + 0.75])


def test_clients_own_evaluations_come_first_and_unknown_is_unknown() -> None:
    score = Score(0.5, 0.0, 2, np.array([2, 0, 0]), np.array([[1, 0, 0]]))
    found = by_client(1, table(None), {"test": score}, {2: EvaluationReply(1, 0.25, 0.1, 4)})
    assert found is not None
    assert found.of == KEPT_BACK
    np.testing.assert_array_equal(found.accuracy, [np.nan, np.nan, 0.25, np.nan])
    entries = summary_entries(found)
    assert entries["client_accuracy"]["accuracy"] == [None, None, 0.25, None]
    assert (entries["client_accuracy"]["number"], entries["client_accuracy_min"]) == (1, 0.25)
    assert by_client(1, table(None), {"test": score}, {}) is None
    assert set(summary_entries(None).values()) == {None}


def test_of_many_clients_the_summary_holds_percentiles() -> None:
    many = np.linspace(0, 1, MOST_LISTED + 1)
    entries = summary_entries(ClientAccuracy(3, KEPT_BACK, np.arange(len(many)), many[::-1].copy()))
    assert "accuracy" not in entries["client_accuracy"]
    np.testing.assert_allclose(entries["client_accuracy"]["percentiles"], np.arange(101) / 100)
    assert (entries["client_accuracy_min"], entries["client_accuracy_median"]) == (0.0, 0.5)
    assert entries["client_accuracy_p10"] == pytest.approx(0.1)
    json.dumps(entries, allow_nan=False)


def test_checkpoints_keep_them(tmp_path) -> None:
    found = ClientAccuracy(2, KEPT_BACK, np.array([0, 4]), np.array([0.5, np.nan]))
    weights = {"output.weight": np.ones((3, 2), np.float32)}
    for by in (found, None):
        stored = load_checkpoint(save_checkpoint(tmp_path, Checkpoint(5, weights, None, ("a", "b"), by_client=by)))
        if by is None:
            assert stored.by_client is None
        else:
            assert stored.by_client is not None
            assert (stored.by_client.round, stored.by_client.of) == (2, KEPT_BACK)
            np.testing.assert_array_equal(stored.by_client.clients, [0, 4])
            np.testing.assert_array_equal(stored.by_client.accuracy, [0.5, np.nan])
        assert set(stored.parameters) == {"output.weight"}
