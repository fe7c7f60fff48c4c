"""What stacked training reads: a standardizer, mapped files, tensors, own rows, labels."""

import numpy as np
import pytest
import torch

from fl_sparse.array_ops import ArrayOps, TorchOps
from fl_sparse.errors import InputError
from fl_sparse.features.statistics import Standardizer, statistics_of
from tests.fl_sparse.learn.mlp_stack.stack_jobs import OPS, Job, assert_same_bits, make_job


@pytest.mark.parametrize("kind", OPS)
def test_a_standardizer_is_applied_to_what_is_read(kind: str) -> None:
    job = make_job()
    standardizer = Standardizer.of(statistics_of(job.features * 3 + 1))
    raw = job.run(OPS[kind](), standardizer=standardizer)
    ready = Job(
        job.spec, job.parameters, job.scales, standardizer(job.features), job.labels, job.batches, job.optimizer
    )
    assert_same_bits(raw, ready.run(OPS[kind]()))


@pytest.mark.parametrize("kind", OPS)
def test_features_may_be_memory_mapped(kind: str, tmp_path) -> None:
    job = make_job()
    job.features.tofile(tmp_path / "features")
    mapped = np.memmap(tmp_path / "features", dtype=np.float32, mode="r", shape=job.features.shape)
    stored = Job(job.spec, job.parameters, job.scales, mapped, job.labels, job.batches, job.optimizer)
    assert_same_bits(job.run(OPS[kind]()), stored.run(OPS[kind]()))


def test_features_may_be_a_tensor() -> None:
    job = make_job()
    held = Job(job.spec, job.parameters, job.scales, torch.tensor(job.features), job.labels, job.batches, job.optimizer)
    assert_same_bits(job.run(TorchOps()), held.run(TorchOps()))


@pytest.mark.parametrize("kind", OPS)
def test_a_client_reads_only_rows_it_holds(kind: str) -> None:
    job = make_job(sizes=(5, 3), batch=4)
    expected = job.run(OPS[kind]())
    spoiled = Job(
        job.spec,
        job.parameters,
        job.scales,
        np.concatenate([np.full((1, 8), np.nan, dtype=np.float32), job.features]),
        np.concatenate([[0], job.labels]),
        np.where(job.batches < 0, -1, job.batches + 1),
        job.optimizer,
    )
    assert_same_bits(expected, spoiled.run(OPS[kind]()))


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    job = make_job()
    job.labels[job.batches[0, 0, 0]] = label
    with pytest.raises(InputError, match=f"label {label} of a training example: expected 0 to 4"):
        job.run(ArrayOps())
