"""Shards on disk: the round trip, and every kind of damage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_sparse.errors import InputError
from fl_sparse.masks.spec import MaskSpec
from fl_sparse.shard.build import build_shard
from fl_sparse.shard.file import load_shard, save_shard
from fl_sparse.shard.image_shard import ImageShard

KEY = "fl-sparse-shard-1"


def _shard(make_images: Any, *, ragged: bool, views: int = 1) -> ImageShard:
    valid = np.ones((12, 12), dtype=np.bool_)
    valid[:5] = False
    images = make_images([(12, 12)] * 3, [valid, None, None])
    rule = "natural" if ragged else "random"
    mask = MaskSpec(rule, 0.5, "fixed" if views == 1 else "resampled", views)
    return build_shard(images, np.arange(3), mask=mask, image_size=8, patch_size=2, data_seed=0, split="test")


@pytest.fixture(scope="module", params=["rectangular", "ragged"])
def shard_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_images: Any) -> Path:
    path = tmp_path_factory.mktemp("shards") / "device.shard"
    save_shard(path, _shard(make_images, ragged=request.param == "ragged", views=2))
    return path


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_a_shard_comes_back_as_it_was(make_images: Any, tmp_path: Path, ragged: bool, views: int, verify: bool) -> None:
    shard = _shard(make_images, ragged=ragged, views=views)
    assert shard.is_rectangular != ragged
    save_shard(tmp_path / "x.shard", shard)
    back = load_shard(tmp_path / "x.shard", verify=verify)
    assert back.header == shard.header
    assert len(back.header.digest) == 64
    for name in ("patches", "kept", "offsets", "labels", "rows"):
        mine, theirs = getattr(shard, name), getattr(back, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert not back.patches.flags.writeable
    assert [path.name for path in tmp_path.iterdir()] == ["x.shard"]


def test_the_file_is_safetensors_with_the_design_s_shapes(make_images: Any, tmp_path: Path) -> None:
    for ragged in (False, True):
        save_shard(tmp_path / "x", _shard(make_images, ragged=ragged, views=2))
        tensors = safetensors.numpy.load((tmp_path / "x").read_bytes())
        assert tensors["kept"].dtype == np.uint8
        if ragged:
            total = len(tensors["kept"])
            assert tensors["patches"].shape == (total, 12)
            assert tensors["offsets"].shape == (7,)
        else:
            assert tensors["patches"].shape == (2, 3, 8, 12)
            assert set(tensors) == {"patches", "kept", "labels", "rows"}


def test_equal_content_is_equal_bytes_and_another_digest_where_content_differs(
    make_images: Any, tmp_path: Path
) -> None:
    first, second = (_shard(make_images, ragged=False) for _ in range(2))
    save_shard(tmp_path / "a", first)
    save_shard(tmp_path / "b", second)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert _shard(make_images, ragged=False, views=2).header.digest != first.header.digest


def _refused(path: Path, content: bytes, *, verify: bool = True) -> str:
    """Write content, expect a refusal in one line that names the file, and return the line."""
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_shard(path, verify=verify)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_shard_cut_anywhere_is_refused(shard_file: Path, tmp_path: Path) -> None:
    whole = shard_file.read_bytes()
    for end in range(0, len(whole), 7):
        _refused(tmp_path / "cut.shard", whole[:end], verify=False)
    assert "cut short" in _refused(tmp_path / "cut.shard", whole[:-1])
    assert "bytes where its header describes" in _refused(tmp_path / "cut.shard", whole + b"\0")


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_byte_changed_anywhere_is_refused(shard_file: Path, data: st.DataObject) -> None:
    content = bytearray(shard_file.read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    # Half of the changes in the header, where the parsing is.
    place = data.draw(st.integers(0, header_end - 1) | st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    before, content[place] = content[place], value
    whitespace = place < header_end and {before, value} <= set(b" \t\r\n")
    if not whitespace:  # JSON may be padded with any of these
        _refused(shard_file.with_name("damaged.shard"), bytes(content))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_header_with_a_field_of_nonsense_is_refused(shard_file: Path, data: st.DataObject) -> None:
    """Even with every byte in its place and no digest to compare."""
    content = shard_file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])
    record = json.loads(entries["__metadata__"][KEY])
    numbers = st.integers() | st.floats() | st.booleans()
    nonsense = (
        st.none() | st.text(max_size=3).filter(lambda text: not text.isdigit()) | st.just([[]]) | st.just({"a": 1})
    )
    field = data.draw(st.sampled_from(["image_size", "patch_size", "mask", "data_seed", "classes", "exposed", "views"]))
    if field == "views":
        record["mask"]["views"] = data.draw(nonsense)
    else:
        record[field] = data.draw(nonsense)
    tensor = data.draw(st.sampled_from(["patches", "kept", "labels", ""]))
    if tensor:
        part = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        entries[tensor][part] = data.draw(nonsense | numbers | st.lists(numbers, max_size=4))
    entries["__metadata__"] = {KEY: json.dumps(record)}
    header = json.dumps(entries).encode()
    _refused(shard_file.with_name("odd.shard"), len(header).to_bytes(8, "little") + header + content[8 + size :])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too short"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "not a shard"),
        (b"PK\x03\x04" + b"\xff" * 100, "not a shard"),
        ((2**63).to_bytes(8, "little") + b"{}" * 50, "not a shard"),
        ((2).to_bytes(8, "little") + b"{}", "not a shard"),
        ((4).to_bytes(8, "little") + b"{]  ", "damaged header"),
        ((200_000).to_bytes(8, "little") + b'{"a":' + b"[" * 199_995, "damaged header"),
        ((14).to_bytes(8, "little") + b'{"a":1,"a":2} ', "appears twice"),
        ((6).to_bytes(8, "little") + b'{"\xff":1', "damaged header"),
    ],
)
def test_what_is_no_shard_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in _refused(tmp_path / "thing", content)


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    content = safetensors.numpy.save({"weight": np.zeros(3, dtype=np.int64)}, {"format": "pt"})
    assert KEY in _refused(tmp_path / "model.safetensors", content)


def test_missing_files_and_folders_are_named(tmp_path: Path, make_images: Any) -> None:
    for path in (tmp_path / "none.shard", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            load_shard(path)
    with pytest.raises(InputError, match="cannot write"):
        save_shard(tmp_path / "missing" / "x.shard", _shard(make_images, ragged=False))
