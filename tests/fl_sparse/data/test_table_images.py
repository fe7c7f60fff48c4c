import json

import numpy as np
import pytest

from fl_sparse.data.sources import load_images
from fl_sparse.errors import InputError


def features(**columns):
    return {"huggingface": json.dumps({"info": {"features": columns}})}


def load(folder, dataset="parquet", **options):
    return load_images(dataset, str(folder), data_seed=0, **options)


def message(folder, **options):
    with pytest.raises(InputError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_names_from_the_schema(tmp_path, write_parquet, pixels):
    names = {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}
    for split, labels in (("train", [2, 0, 1]), ("test", [0, 0])):
        write_parquet(tmp_path / f"{split}.parquet", label=labels, metadata=features(label=names))
    train, test = load(tmp_path)
    assert train.classes == test.classes == ("cat", "dog", "owl")
    assert train.labels.tolist() == [2, 0, 1]
    assert test.labels.tolist() == [0, 0]
    assert train.name == f"{tmp_path.name} train"
    assert train.describe(1) == f"{tmp_path / 'train.parquet'}, row 1"
    assert (train.pixels(1) == pixels(1)).all()
    assert train.validity(0) is None
    assert train.ids is None


def test_labels_of_strings_and_plain_bytes(tmp_path, write_parquet, png, pixels):
    for split, labels in (("train", ["dog", "cat", "dog"]), ("test", ["owl"])):
        images = [png(row) for row in range(len(labels))]
        write_parquet(tmp_path / f"{split}.parquet", img=images, image=images, kind=labels)
    train, test = load(tmp_path, image_column="img", label_column="kind")
    assert train.classes == ("cat", "dog", "owl")
    assert train.labels.tolist() == [1, 0, 1]
    assert test.labels.tolist() == [2]
    assert (train.pixels(2) == pixels(2)).all()


def test_integer_labels_without_names(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", label=[0, 3])
    write_parquet(tmp_path / "test.parquet", label=[4])
    assert load(tmp_path)[0].classes == ("0", "1", "2", "3", "4")


def test_ids_masks_and_paths(tmp_path, write_parquet, png, encode, pixels):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(png(7))
    image = [{"bytes": png(0), "path": None}, {"bytes": None, "path": "images/one.png"}]
    black = pixels(8)
    black[:3] = 0
    mask = [None, {"bytes": encode(black), "path": None}]
    write_parquet(tmp_path / "train.parquet", image=image, mask=mask, label=[0, 1], user=["ann", "bob"])
    write_parquet(tmp_path / "test.parquet", label=[0, 1], user=["ann", "ann"])
    train, test = load(tmp_path, id_column="user")
    assert train.ids.tolist() == ["ann", "bob"]
    assert test.ids.tolist() == ["ann", "ann"]
    assert (train.pixels(1) == pixels(7)).all()
    assert train.validity(0) is None
    assert (train.validity(1) == (np.arange(6) >= 3)[:, None]).all()


def test_numbered_parts_are_read_in_order(tmp_path, write_parquet):
    for part, labels in enumerate(([0, 1], [1, 1, 0])):
        write_parquet(tmp_path / f"train-{part:05d}-of-00002.parquet", label=labels)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", label=[0, 1])
    train, _ = load(tmp_path)
    assert train.labels.tolist() == [0, 1, 1, 1, 0]
    assert train.pixels(2)[0, 0, 0] == 0


def test_parts_of_different_columns(tmp_path, write_parquet):
    write_parquet(tmp_path / "train-0.parquet", label=[0, 1])
    write_parquet(tmp_path / "train-1.parquet", label=["a", "b"])
    assert "the parts of 'train' have different columns" in message(tmp_path)


def test_without_test_images_some_are_held_out(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", label=[0] * 40 + [1] * 60)
    train, test = load(tmp_path)
    assert np.bincount(train.labels).tolist() == [34, 51]
    assert np.bincount(test.labels).tolist() == [6, 9]
    assert test.name == f"{tmp_path.name} test"


def test_the_fingerprint_follows_the_content(tmp_path, write_parquet):
    for folder, labels in (("a", [0, 1]), ("b", [0, 1]), ("c", [1, 0])):
        write_parquet(tmp_path / folder / "train.parquet", label=labels)
        write_parquet(tmp_path / folder / "test.parquet", label=[0, 1])
    prints = [load(tmp_path / folder)[0].fingerprint for folder in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_unreadable_image_is_named_when_read(tmp_path, write_parquet, png):
    images = [png(0), b"nonsense", None]
    write_parquet(tmp_path / "train.parquet", image=images, label=[0, 1, 0])
    write_parquet(tmp_path / "test.parquet", label=[0, 1])
    train, _ = load(tmp_path)
    with pytest.raises(InputError, match=r"train\.parquet, row 1: cannot read the image: not an image$"):
        train.pixels(1)
    with pytest.raises(InputError, match=r"train\.parquet, row 2: no image in this row"):
        train.pixels(2)


def test_a_path_must_stay_in_the_folder(tmp_path, write_parquet):
    image = [{"bytes": None, "path": "../secret.png"}, {"bytes": None, "path": "inside.png"}]
    write_parquet(tmp_path / "data" / "train.parquet", image=image, label=[0, 1])
    write_parquet(tmp_path / "data" / "test.parquet", label=[0, 1])
    train, _ = load(tmp_path / "data")
    with pytest.raises(InputError, match=r"row 0: image path '\.\./secret\.png' leads out of"):
        train.pixels(0)
    with pytest.raises(InputError, match="row 1: no such image file"):
        train.pixels(1)


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"label": [0, 1]}, {"label_column": "lable"}, "label-column 'lable' is not there; did you mean 'label'?"),
        ({"label": [0, 1]}, {"image_column": "imag"}, "image-column 'imag' is not there; did you mean 'image'?"),
        ({"label": [0, 1]}, {"image_column": "label"}, "image-column 'label' holds int64; expected encoded images"),
        ({"label": [0, 1]}, {"id_column": "user"}, "id-column 'user' is not there; expected one of: image, label"),
        ({"label": [0, 1], "user": [1.5, 2]}, {"id_column": "user"}, "'user' holds double; expected integers or"),
        ({"fine": [0, 1]}, {}, "no column named 'label'; set label-column to one of: fine, image"),
        ({"label": [0, -1]}, {}, "row 1: label -1; expected a class from 0 to 1"),
        ({"label": ["a", None]}, {}, "row 1: label-column 'label' is empty; expected a value in every row"),
        ({"label": [0.5, 1.0]}, {}, "label-column 'label' holds double; expected integers or strings"),
        ({"label": [0, 1], "image": [1, 2]}, {}, "no column of encoded images among: label, image"),
        (
            {"label": [0, 1], "left": [b"", b""], "right": [b"", b""], "image": [1, 2]},
            {},
            "several columns of images; set image-column to one of: left, right",
        ),
    ],
)
def test_columns_that_do_not_fit(tmp_path, write_parquet, columns, options, expected):
    write_parquet(tmp_path / "train.parquet", **columns)
    write_parquet(tmp_path / "test.parquet", label=[0, 1])
    assert expected in message(tmp_path, **options)


def test_files_that_do_not_fit(tmp_path, write_parquet):
    assert message(tmp_path / "gone").endswith("no such folder")
    assert "no train.parquet or train-*.parquet there" in message(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    assert "train.parquet: cannot read the Parquet file" in message(tmp_path)
    write_parquet(tmp_path / "train.parquet", label=[0, 1])
    write_parquet(tmp_path / "test.parquet", label=["a", "b"])
    assert "integers in one table and strings in another" in message(tmp_path)


def test_labels_outside_the_class_names(tmp_path, write_parquet):
    names = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    write_parquet(tmp_path / "train.parquet", label=[0, 2], metadata=features(label=names))
    assert "row 1: label 2; expected a class from 0 to 1" in message(tmp_path)
    write_parquet(tmp_path / "train.parquet", label=["cat", "dg"], metadata=features(label=names))
    assert "unknown label 'dg'; did you mean 'dog'?" in message(tmp_path)
