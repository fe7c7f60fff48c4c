import pytest

from fl_sparse.errors import InputError
from server.progress import human_bytes, round_line
from server.records import RoundRecord, from_json, summarize, to_json


def record(number: int, validation: float | None, test: float | None, **more) -> RoundRecord:
    return RoundRecord(round=number, validation_accuracy=validation, test_accuracy=test, **more)


def test_the_round_is_chosen_on_validation_not_on_test() -> None:
    summary = summarize([record(0, 0.1, 0.1), record(1, 0.8, 0.6), record(2, 0.7, 0.9), record(3, 0.8, 0.7)])
    assert summary["accuracy"] == 0.6
    assert summary["chosen_round"] == 1
    assert summary["final_accuracy"] == 0.7
    assert summary["best_accuracy"] == 0.9
    assert summary["accuracy_of"] == "test images"


def test_totals_are_sums_over_rounds() -> None:
    rounds = [
        record(number, 0.5, 0.5, bytes_down=10, bytes_up=5, asked=4, refused=1, lost=1, seconds={"train": 0.5})
        for number in range(3)
    ]
    summary = summarize(rounds)
    assert (summary["bytes_down"], summary["bytes_up"], summary["asked"]) == (30, 15, 12)
    assert (summary["refused"], summary["lost"]) == (3, 3)
    assert summary["seconds"]["train"] == 1.5


def test_work_is_summed_and_weights_are_means_over_the_rounds_that_trained() -> None:
    first = {"flops_by_layer": {"hidden.0": 4.0, "output": 1.0}, "weights_held_max": 12}
    second = {"flops_by_layer": {"hidden.0": 2.0, "output": 1.0}, "weights_held_max": 10}
    summary = summarize(
        [
            record(0, 0.5, 0.5),
            record(1, 0.5, 0.5, weights_held=10.0, weights_active=8.0, **first),
            record(2, 0.5, 0.5, weights_held=9.0, weights_active=9.0, **second),
        ]
    )
    assert summary["flops_by_layer"] == {"hidden.0": 6.0, "output": 2.0}
    assert (summary["weights_held"], summary["weights_held_max"], summary["weights_active"]) == (9.5, 12, 8.5)
    assert summarize([record(0, 0.5, 0.5)])["weights_held"] is None


def test_clients_accuracy_stands_in_when_the_server_holds_no_images() -> None:
    summary = summarize([RoundRecord(round=1, clients_accuracy=0.4), RoundRecord(round=2, clients_accuracy=0.3)])
    assert summary["accuracy"] == 0.4
    assert summary["accuracy_of"] == "clients' held-out images"


def test_nothing_evaluated_gives_no_accuracy() -> None:
    assert summarize([RoundRecord(round=1)])["accuracy"] is None


def test_json_round_trip() -> None:
    one = record(2, 0.5, 0.25, reasons=("client 3: the reply is for round 1; expected 2",), seconds={"train": 0.1})
    assert from_json(to_json(one), source="x") == one
    with pytest.raises(InputError, match="x: no round record"):
        from_json({"round": 1, "colour": "red"}, source="x")


@pytest.mark.parametrize("accuracy", [None, 0.5])
def test_lines_fit_80_columns(accuracy: float | None) -> None:
    line = round_line(
        record(1000, accuracy, accuracy, train_loss=12.345, bytes_down=999_900_000, bytes_up=999_900_000), 1000
    )
    assert len(line) <= 80
    assert "999.9 MB down" in line


def test_missing_replies_are_said() -> None:
    assert "2 of 4 missing" in round_line(RoundRecord(round=1, asked=4, refused=1, lost=1), 3)


def test_bytes_are_powers_of_a_thousand() -> None:
    assert [human_bytes(count) for count in (0, 999, 1500, 2_000_000, 3e9, 4e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 MB",
        "3.0 GB",
        "4.0 TB",
    ]
