"""Arrays by several names survive being arrays by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.nested_names import flattened, nested, under, without

OUTER = st.text(st.characters(exclude_characters="."), max_size=4)
INNER = st.text("ab.", max_size=5)
PREFIXES = st.sampled_from(["", "moment.", "client.", "a", ".", "x.y."])
NESTED = st.dictionaries(OUTER, st.dictionaries(INNER, st.integers(), min_size=1, max_size=3), max_size=4)
FLAT = st.dictionaries(st.text("abm.", max_size=6), st.integers(), max_size=6)


@settings(deadline=None)
@given(held=NESTED, prefix=PREFIXES)
def test_what_is_flattened_is_nested_again(held: dict[str, dict[str, int]], prefix: str) -> None:
    flat = flattened(held, prefix)
    assert len(flat) == sum(map(len, held.values()))
    assert all(name.startswith(prefix) for name in flat)
    assert nested(flat, prefix) == held
    assert list(nested(flat, prefix)) == list(held)


@settings(deadline=None)
@given(held=NESTED, others=FLAT)
def test_what_lies_beside_is_left_alone(held: dict[str, dict[str, int]], others: dict[str, int]) -> None:
    beside = {name: value for name, value in others.items() if not name.startswith("moment.")}
    flat = {**beside, **flattened(held, "moment.")}
    assert without(flat, "moment.") == beside
    assert nested(flat, "moment.") == held


@settings(deadline=None)
@given(flat=FLAT, prefix=PREFIXES)
def test_a_prefix_divides_names_in_two(flat: dict[str, int], prefix: str) -> None:
    assert without(flat, prefix) | {prefix + name: value for name, value in under(flat, prefix).items()} == flat
    assert len(without(flat, prefix)) + len(under(flat, prefix)) == len(flat)


def test_by_example() -> None:
    assert flattened({"first": {"output.bias": 1}}) == {"first.output.bias": 1}
    assert nested({"client.3.hidden.0.weight": 1, "round": 2}, "client.") == {"3": {"hidden.0.weight": 1}}
    assert under({"mask.w": 1, "w": 2}, "mask.") == {"w": 1}
