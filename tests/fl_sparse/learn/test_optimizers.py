"""Numbers that make no optimiser are refused in one line."""

import pytest

from fl_sparse.errors import InputError
from fl_sparse.learn.optimizers import OptimizerSpec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'?"),
        ({"learning_rate": 0.0}, "learning-rate 0.0"),
        ({"learning_rate": float("nan")}, "learning-rate nan"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"proximal": -0.1}, "proximal -0.1"),
        ({"name": "adam", "momentum": 0.9}, "adam has none"),
        ({"beta2": 1.0}, "beta2 1.0"),
        ({"epsilon": 0.0}, "epsilon 0.0"),
    ],
)
def test_refuses_what_makes_no_optimizer(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")) as caught:
        OptimizerSpec(**{"name": "sgd", "learning_rate": 0.1, **changes})
    assert "\n" not in str(caught.value)
