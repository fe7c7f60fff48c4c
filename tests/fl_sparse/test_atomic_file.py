from pathlib import Path

import pytest

from fl_sparse.atomic_file import whole_file, write_whole


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")

    def cut_short() -> None:
        with whole_file(tmp_path / "a") as partial:
            partial.write_bytes(b"ne")
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        cut_short()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
