"""Parts are done once each, by as many threads as the environment allows."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fl_sparse.threads import WORTHWHILE, in_threads, thread_count


@pytest.mark.parametrize(("threads", "work", "parts"), [(1, 9, 1), (3, 9, 3), (3, 2, 2), (3, 1, 1), (3, 0, 1)])
def test_every_coordinate_is_done_once(threads: int, work: int, parts: int, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    done, names = np.zeros(1000, dtype=int), set()

    def part(some: slice) -> None:
        done[some] += 1
        names.add((some.start, some.stop))

    in_threads(part, 1000, work=work * WORTHWHILE)
    assert (done == 1).all()
    assert len(names) == parts
    assert threading.active_count() < 50


def test_an_error_in_another_thread_is_raised(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    def part(some: slice) -> None:
        if some.start:
            raise ValueError("second half")

    with pytest.raises(ValueError, match="second half"):
        in_threads(part, 10, work=2 * WORTHWHILE)


@pytest.mark.parametrize("said", ["", "many", "0"])
def test_what_is_no_number_of_threads_is_left_alone(said: str, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert thread_count() >= 1
