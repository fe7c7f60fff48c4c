"""A device's folder of images and its labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fl_sparse.errors import InputError
from fl_sparse.shard.device_folder import device_images


def _image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(path)


def test_class_folders_are_labels(tmp_path: Path) -> None:
    for file in ("dog/b.png", "dog/a.jpg", "cat/1.png"):
        _image(tmp_path / file)
    images = device_images(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.files == ("cat/1.png", "dog/a.jpg", "dog/b.png")
    assert images.labels.tolist() == [0, 1, 1]


def test_devices_with_the_same_classes_number_them_alike(tmp_path: Path) -> None:
    _image(tmp_path / "cat" / "1.png")
    images = device_images(tmp_path, classes=["dog", "bird", "cat"])
    assert images.classes == ("dog", "bird", "cat")
    assert images.labels.tolist() == [2]
    with pytest.raises(InputError, match="cat"):
        device_images(tmp_path, classes=["dog", "cap"])


def test_a_flat_folder_is_unlabelled(tmp_path: Path) -> None:
    for file in ("b.png", "a.png", "a.mask.png", ".hidden.png"):
        _image(tmp_path / file)
    (tmp_path / "notes.txt").touch()
    images = device_images(tmp_path)
    assert images.files == ("a.png", "b.png")
    assert images.labels.tolist() == [-1, -1]
    assert images.classes == ()


def test_a_table_labels_images_at_any_depth(tmp_path: Path) -> None:
    for file in ("a.png", "deep/b.png", "deep/c.png", "d.png"):
        _image(tmp_path / "photos" / file)
    table = tmp_path / "labels.csv"
    table.write_text("\ufefffile, label\ndeep/b.png, dog\na.png,cat\nd.png,\n", encoding="utf-8")
    images = device_images(tmp_path / "photos", labels=table)
    assert images.files == ("a.png", "d.png", "deep/b.png", "deep/c.png")
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, -1, 1, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,cat\n", "columns 'file' and 'label'"),
        ("file,label\nx.png,cat\n", r"line 2: no image 'x.png'"),
        ("file,label\na.png,cat\na.png,dog\n", "line 3: 'a.png' is named twice"),
        ("file,label\na.png,cta\n", "'cta', which is not a class; did you mean 'cat'"),
        ("file,label\n../a.png,cat\n", "no image"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    _image(tmp_path / "photos" / "a.png")
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        device_images(tmp_path / "photos", classes=["cat", "dog"], labels=table)
    assert str(table) in str(caught.value)
    table.write_bytes(b"file,label\n\xff\xfe,\x00\n")
    with pytest.raises(InputError, match="no readable CSV"):
        device_images(tmp_path / "photos", labels=table)


def test_folders_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        device_images(tmp_path / "none")
    with pytest.raises(InputError, match="no images in it"):
        device_images(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="cat: no images in it"):
        device_images(tmp_path)
    _image(tmp_path / "stray.png")
    with pytest.raises(InputError, match=r"both images \(stray.png\) and folders \(cat\)"):
        device_images(tmp_path)
