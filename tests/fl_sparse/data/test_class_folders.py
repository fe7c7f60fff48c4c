import os

import numpy as np
import pytest
from PIL import Image

from fl_sparse.data.sources import load_images
from fl_sparse.errors import InputError


def load(folder, dataset="imagefolder", data_seed=0):
    return load_images(dataset, str(folder), data_seed=data_seed)


def message(*arguments):
    with pytest.raises(InputError) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_train_and_test_folders(tmp_path, class_folders):
    class_folders(tmp_path / "train", ["dog", "cat", "owl"], 3)
    class_folders(tmp_path / "test", ["owl", "cat"], 2)
    train, test = load(tmp_path)
    assert train.classes == test.classes == ("cat", "dog", "owl")
    assert train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert test.labels.tolist() == [0, 0, 2, 2]
    assert test.describe(3) == str(tmp_path / "test" / "owl" / "owl_001.png")
    assert [train.pixels(row).shape for row in range(3)] == [(5, 6, 3), (6, 6, 3), (7, 6, 3)]


def test_one_folder_is_split(tmp_path, class_folders):
    # A class may be called "train"; folders in a class are its images too, hidden folders are nobody's.
    class_folders(tmp_path, ["train", "bus"], 40)
    (tmp_path / "train" / "train_000.png").rename(tmp_path / "train" / "IMAGE.PNG")
    (tmp_path / "bus" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    train, test = load(tmp_path)
    assert np.bincount(train.labels).tolist() == [34, 34]
    assert np.bincount(test.labels).tolist() == [6, 6]
    assert {train.describe(row) for row in range(68)}.isdisjoint(test.describe(row) for row in range(12))
    assert (load(tmp_path)[1].rows == test.rows).all()
    assert not np.array_equal(load(tmp_path, data_seed=1)[1].rows, test.rows)


def test_mask_beside_the_image_then_alpha(tmp_path, class_folders):
    class_folders(tmp_path / "train", ["a"], 3)
    class_folders(tmp_path / "test", ["a"], 1)
    folder = tmp_path / "train" / "a"
    valid = np.arange(30).reshape(5, 6) % 4 > 0
    Image.fromarray(255 * valid.astype(np.uint8)).save(folder / "a_000.mask.png")
    alpha = np.dstack([np.full((6, 6, 3), 9, np.uint8), np.arange(36, dtype=np.uint8).reshape(6, 6) // 18])
    Image.fromarray(alpha).save(folder / "a_001.png")
    train, _ = load(tmp_path)
    assert len(train) == 3
    assert (train.validity(0) == valid).all()
    assert (train.validity(1) == (np.arange(36).reshape(6, 6) >= 18)).all()
    assert train.validity(2) is None
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / "a_002.mask.png")
    with pytest.raises(InputError, match=r"a_002\.mask\.png: the mask is 2x2 .*, its image 7x6"):
        train.validity(2)


def test_the_fingerprint_follows_names_sizes_and_times(tmp_path, class_folders):
    class_folders(tmp_path, ["a", "b"], 20)

    def fingerprint():
        return load(tmp_path)[0].fingerprint

    first = fingerprint()
    assert fingerprint() == first
    os.utime(tmp_path / "a" / "a_000.png", (1, 1))
    second = fingerprint()
    Image.fromarray(np.ones((5, 6), np.uint8)).save(tmp_path / "a" / "a_001.mask.png")
    assert len({first, second, fingerprint()}) == 3


def test_unreadable_image_is_named_when_read(tmp_path, class_folders):
    class_folders(tmp_path / "train", ["a"], 2)
    class_folders(tmp_path / "test", ["a"], 1)
    broken = tmp_path / "train" / "a" / "a_001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    train, _ = load(tmp_path)
    with pytest.raises(InputError, match=r"a_001\.png: cannot read the image"):
        train.pixels(1)


def test_folders_that_do_not_fit(tmp_path, class_folders):
    assert message("") == "dataset 'imagefolder' needs data-dir: the folder with its images"
    assert message(tmp_path / "gone").endswith("no such folder")
    assert "no class folders there" in message(tmp_path)
    class_folders(tmp_path / "train", ["cat", "dog"], 2)
    class_folders(tmp_path / "test", ["cat", "dig"], 2)
    assert message(tmp_path).endswith("dig: not a class of the training images; did you mean 'dog'? Choices: cat, dog")
    (tmp_path / "train" / "empty").mkdir()
    assert f"class folder {tmp_path / 'train' / 'empty'}: no images in it" in message(tmp_path)


@pytest.mark.parametrize(("dataset", "inner", "number"), [("resisc45", "NWPU-RESISC45", 45), ("aid", "AID", 30)])
def test_published_folders_keep_the_papers_shares(tmp_path, class_folders, dataset, inner, number):
    class_folders(tmp_path / inner, [f"class{label:02d}" for label in range(number)], 7)
    held_out = round(number * 7 * {"resisc45": 1 / 7, "aid": 0.15}[dataset])
    for folder in (tmp_path, tmp_path / inner):
        train, test = load(folder, dataset)
        assert (len(train), len(test)) == (number * 7 - held_out, held_out)
        assert len(train.classes) == number
        assert train.name == f"{dataset} train"
    class_folders(tmp_path / inner, ["another"], 1)
    assert f"{number + 1} class folders; {dataset} has {number}" in message(tmp_path, dataset)


def test_full_sizes_give_the_papers_numbers():
    from fl_sparse.data.remote_sensing import AID, RESISC45
    from fl_sparse.data.stratified import stratified_split

    for published, train in ((RESISC45, 27_000), (AID, 8_500)):
        labels = np.arange(published.num_images) % published.num_classes
        held_out = round(published.num_images * (published.num_test / published.num_images))
        rest, held = stratified_split(labels, held_out, np.random.default_rng(0))
        assert (len(rest), len(held)) == (train, published.num_test)
