import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.data.class_deal import deal_classes
from fl_sparse.data.partition import SCHEMES, partition
from fl_sparse.errors import InputError

LABELS = np.random.default_rng(0).integers(0, 5, 200)
IDS = np.array([f"user {number}" for number in np.random.default_rng(1).integers(0, 12, 200)])


def split(scheme, labels=LABELS, num_clients=6, data_seed=0, ids=IDS, **options):
    return partition(scheme, labels, num_clients=num_clients, data_seed=data_seed, ids=ids, **options)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme(scheme):
    parts = split(scheme)
    assert len(parts) == 6
    for part in parts:
        assert part.dtype == np.int64
        assert len(part)
        assert (np.diff(part) >= (0 if scheme == "bootstrap" else 1)).all()
    times = np.bincount(np.concatenate(parts), minlength=200)
    if scheme != "bootstrap":
        assert (times == (6 if scheme == "full" else 1)).all()
    again = split(scheme)
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))
    if scheme != "full":
        other_seed = split(scheme, data_seed=1)
        assert not all(np.array_equal(one, other) for one, other in zip(parts, other_seed, strict=True))


def test_the_same_in_another_process():
    program = (
        "import json, numpy as np\n"
        "from fl_sparse.data.partition import partition\n"
        "labels = np.random.default_rng(0).integers(0, 5, 200)\n"
        "schemes = ['dirichlet', 'iid', 'pathological']\n"
        "parts = [partition(scheme, labels, num_clients=6, data_seed=0) for scheme in schemes]\n"
        "print(json.dumps([[rows.tolist() for rows in part] for part in parts]))\n"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    here = [[rows.tolist() for rows in split(scheme)] for scheme in ("dirichlet", "iid", "pathological")]
    assert json.loads(there) == here


@settings(max_examples=15, deadline=None)
@given(num_clients=st.integers(1, 40), alpha=st.sampled_from([1e-8, 0.01, 0.5, 100.0]), seed=st.integers(0, 99))
def test_dirichlet_leaves_nobody_empty(num_clients, alpha, seed):
    labels = LABELS[:40]
    parts = split("dirichlet", labels, num_clients, seed, alpha=alpha)
    assert min(map(len, parts)) >= 1
    assert sorted(np.concatenate(parts)) == list(range(40))


def test_dirichlet_is_more_even_with_a_larger_alpha():
    def spread(alpha):
        return np.std([np.bincount(LABELS[part], minlength=5) for part in split("dirichlet", alpha=alpha)])

    assert spread(0.05) > 2 * spread(1000.0)


def test_bootstrap_gives_more_clients_than_images_so_many_draws_each():
    parts = split("bootstrap", num_clients=3000, images_per_client=7)
    assert parts.sizes.tolist() == [7] * 3000
    # Drawn with replacement: within a client, too, and every image about equally often.
    assert any((np.diff(part) == 0).any() for part in parts)
    times = np.bincount(parts.rows, minlength=200)
    expected = 3000 * 7 / 200
    assert abs(times - expected).max() < 6 * np.sqrt(expected)


def test_iid_sizes():
    assert sorted(map(len, split("iid", num_clients=7))) == [28, 28, 28, 29, 29, 29, 29]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_classes_are_dealt_evenly_and_none_is_left_out(data):
    num_classes = data.draw(st.integers(1, 12))
    each = data.draw(st.integers(1, num_classes))
    num_clients = data.draw(st.integers(-(-num_classes // each), 30))
    dealt = deal_classes(num_classes, num_clients, each, np.random.default_rng(data.draw(st.integers(0, 9))))
    assert all(len(set(hand.tolist())) == each for hand in dealt)
    holders = np.bincount(np.concatenate(dealt), minlength=num_classes)
    assert holders.max() - holders.min() <= 1
    assert holders.min() >= 1


@pytest.mark.parametrize("each", [1, 2, 5])
def test_pathological_holds_exactly_so_many_classes(each):
    parts = split("pathological", num_clients=8, classes_per_client=each)
    assert all(len(np.unique(LABELS[part])) == each for part in parts)
    assert len(np.unique(np.concatenate(parts))) == 200


def test_pathological_with_labels_that_skip_numbers():
    parts = split("pathological", LABELS * 3 + 4, classes_per_client=2)
    assert len(np.unique(np.concatenate(parts))) == 200


def test_natural_keeps_ids_together():
    assert [set(IDS[part]) for part in split("natural", num_clients=12)] == [{name} for name in np.unique(IDS)]
    grouped = [set(IDS[part]) for part in split("natural", num_clients=5)]
    assert sorted(len(names) for names in grouped) == [2, 2, 2, 3, 3]
    assert sum(map(len, grouped)) == len(set().union(*grouped)) == 12


def test_natural_is_silent(capfd):
    split("natural")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "dirichlett"}, "unknown partition 'dirichlett'; did you mean 'dirichlet'?"),
        ({"scheme": "iid", "num_clients": 0}, "num-clients 0: expected at least 1"),
        ({"scheme": "iid", "num_clients": 201}, "num-clients 201: more than the 200 training images to share"),
        ({"scheme": "dirichlet", "alpha": 0.0}, "alpha 0.0: expected a positive number"),
        ({"scheme": "dirichlet", "alpha": float("nan")}, "alpha nan: expected a positive number"),
        ({"scheme": "bootstrap", "images_per_client": 0}, "images-per-client 0: expected at least 1"),
        ({"scheme": "natural", "ids": None}, "partition 'natural' needs id-column"),
        ({"scheme": "natural", "num_clients": 13}, "num-clients 13: more than the 12 ids that images come from"),
        ({"scheme": "pathological", "classes_per_client": 6}, "classes-per-client 6: expected 1 to 5"),
        (
            {"scheme": "pathological", "num_clients": 2},
            "num-clients 2 with classes-per-client 2 can hold 4 of the 5 classes; expected all",
        ),
        (
            {"scheme": "pathological", "num_clients": 190},
            "partition 'pathological': class 0 has",
        ),
    ],
)
def test_refused_in_one_line(options, message):
    with pytest.raises(InputError) as caught:
        split(**options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
