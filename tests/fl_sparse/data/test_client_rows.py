import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.data.client_rows import ClientRows

NUM_ROWS = 12
PARTS = st.lists(st.lists(st.integers(0, NUM_ROWS - 1), max_size=6), min_size=1, max_size=8)


def lists(rows: ClientRows) -> list[list[int]]:
    return [part.tolist() for part in rows]


@given(PARTS, st.data())
def test_is_the_sequence_of_its_parts_and_maps_all_of_them_at_once(parts, data) -> None:
    joined = ClientRows.of(np.array(part, dtype=np.int64) for part in parts)
    assert lists(joined) == parts
    assert len(joined) == len(parts)
    assert joined.sizes.tolist() == [len(part) for part in parts]
    assert joined[-1].tolist() == parts[-1]
    assert [part.tolist() for part in joined[1:]] == parts[1:]
    values = np.array(data.draw(st.permutations(range(100, 100 + NUM_ROWS))))
    assert lists(joined.taken_from(values)) == [[int(values[row]) for row in part] for part in parts]
    wanted = np.array(data.draw(st.lists(st.booleans(), min_size=NUM_ROWS, max_size=NUM_ROWS)))
    assert lists(joined.where(wanted)) == [[row for row in part if wanted[row]] for part in parts]


def test_parts_are_views_of_one_array() -> None:
    joined = ClientRows.of([np.arange(3), np.arange(5)])
    assert all(np.shares_memory(part, joined.rows) for part in joined)
