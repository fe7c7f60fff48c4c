import json

import pytest

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from server.launch import Launch, split_run_config
from server.records import RoundRecord
from server.run_folder import (
    check_new,
    create_run_folder,
    next_name,
    open_unfinished,
    read_config,
    read_records,
    rewrite_records,
    write_record,
    write_summary,
)


def test_names_count_on_from_the_highest(tmp_path) -> None:
    assert next_name(tmp_path / "absent", "demo") == "demo-1"
    for name in ("demo-1", "demo-7", "demo-x", "other-9"):
        (tmp_path / name).mkdir()
    assert next_name(tmp_path, "demo") == "demo-8"


def test_a_created_folder_holds_configuration_and_environment(tmp_path) -> None:
    config = RunConfig(seed=3, mask_ratio=0.25)
    folder = create_run_folder(tmp_path / "deep" / "run", config)
    assert read_config(folder.path) == config
    environment = json.loads((folder.path / "environment.json").read_text())
    assert environment["packages"]["flwr"]
    assert environment["cores"] >= 1


def test_a_folder_that_holds_a_run_is_refused(tmp_path) -> None:
    create_run_folder(tmp_path / "run", RunConfig())
    with pytest.raises(InputError, match="already holds another run; --resume goes on with it"):
        check_new(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="already holds something"):
        create_run_folder(tmp_path / "other", RunConfig())
    assert (tmp_path / "other" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    check_new(tmp_path / "empty")


def test_resuming_names_the_keys_that_differ(tmp_path) -> None:
    create_run_folder(tmp_path / "run", RunConfig())
    with pytest.raises(InputError, match=r"mask-ratio = 0\.5 there, 0\.75 here, seed = 0 there, 2 here"):
        open_unfinished(tmp_path / "run", RunConfig(mask_ratio=0.75, seed=2))


def test_resuming_a_finished_run_or_none_is_refused(tmp_path) -> None:
    folder = create_run_folder(tmp_path / "run", RunConfig())
    write_summary(folder, {"accuracy": 0.5})
    with pytest.raises(InputError, match="finished run"):
        open_unfinished(tmp_path / "run", RunConfig())
    with pytest.raises(InputError, match="holds no run"):
        open_unfinished(tmp_path / "absent", RunConfig())


@pytest.mark.parametrize("damaged", [b"seed = [1\n", b"\xff"])
def test_a_damaged_configuration_is_named(damaged: bytes, tmp_path) -> None:
    folder = create_run_folder(tmp_path / "run", RunConfig())
    folder.config_file.write_bytes(damaged)
    with pytest.raises(InputError, match=r"config\.toml: no valid TOML"):
        open_unfinished(tmp_path / "run", RunConfig())


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path) -> None:
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "file" / "run", tmp_path / "file" / "deep" / "run"):
        with pytest.raises(InputError, match="is no folder that can be written to"):
            check_new(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_records_survive_and_a_cut_line_is_dropped(tmp_path) -> None:
    folder = create_run_folder(tmp_path / "run", RunConfig())
    records = [
        RoundRecord(round=number, test_accuracy=0.1 * number, reasons=("client 1: late",)) for number in range(4)
    ]
    for record in records:
        write_record(folder, record)
    with folder.metrics_file.open("a") as stream:
        stream.write('{"round": 4, "test_acc')
    assert read_records(folder) == records
    assert read_records(folder, up_to=2) == records[:3]
    rewrite_records(folder, records[:2])
    assert read_records(folder) == records[:2]


def test_a_damaged_line_is_named(tmp_path) -> None:
    folder = create_run_folder(tmp_path / "run", RunConfig())
    folder.metrics_file.write_text('{"round": 0}\nnonsense\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        read_records(folder)
    folder.metrics_file.write_text('{"lap": 0}\n')
    with pytest.raises(InputError, match=r"line 1: no round record"):
        read_records(folder)


def test_launch_options_choose_the_folder(tmp_path) -> None:
    assert Launch(out=str(tmp_path), name="mine").path("demo") == tmp_path / "mine"
    assert Launch(out=str(tmp_path)).path("demo") == tmp_path / "demo-1"
    with pytest.raises(InputError, match="leave out and name away"):
        Launch(out="x", resume="y").check(RunConfig(), "demo")
    with pytest.raises(InputError, match="without separators"):
        Launch(out=str(tmp_path), name="../up").check(RunConfig(), "demo")


def test_flowers_run_config_is_split_and_checked() -> None:
    config, launch = split_run_config({"seed": 4, "out": "results"}, source="run config")
    assert config == RunConfig(seed=4)
    assert launch == Launch(out="results")
    with pytest.raises(InputError, match="unknown key 'sede'; did you mean 'seed'"):
        split_run_config({"sede": 4}, source="run config")
    with pytest.raises(InputError, match="out = 3 is no text"):
        split_run_config({"out": 3}, source="run config")
