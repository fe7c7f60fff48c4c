"""What users read: the names that were nearly right."""

from hypothesis import given
from hypothesis import strategies as st

from fl_sparse.errors import nearest

MANY = [f"name-{number}" for number in range(40)]


def test_few_choices_are_all_named() -> None:
    assert nearest("ada", ["sgd", "adam"]) == "; did you mean 'adam'? Choices: adam, sgd"
    assert nearest("x", ["sgd", "adam"]) == "; expected one of: adam, sgd"
    assert nearest("adm", ["adam"]) == "; did you mean 'adam'?"


def test_many_or_long_choices_are_not() -> None:
    assert nearest("x", ["a" * 70, "b" * 70]).startswith("; nearest of 2 names: ")
    assert nearest("nme-7", MANY, see="there") == "; did you mean 'name-7'?"
    said = nearest("zzz", MANY, see="there")
    assert said.startswith("; nearest of 40 names: ")
    assert said.endswith("; all are in: there")
    assert len(said) < 80


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=30, unique=True))
def test_something_valid_is_always_named(name: str, valid: list[str]) -> None:
    said = nearest(name, valid)
    assert any(one in said or repr(one) in said for one in valid)
