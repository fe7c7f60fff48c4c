import json
import urllib.error

import numpy as np
import pytest
from PIL import Image

from fl_sparse.data.sources import SOURCES, load_images
from fl_sparse.data.torchvision_sets import TORCHVISION_SETS
from fl_sparse.errors import InputError


@pytest.fixture
def no_network(monkeypatch):
    def fail(*arguments, **options):
        raise urllib.error.URLError("no network\nin this test")

    monkeypatch.setattr("urllib.request.urlopen", fail)


def message(dataset, folder):
    with pytest.raises(InputError) as caught:
        load_images(dataset, str(folder), data_seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", *TORCHVISION_SETS])
def test_a_failed_download_is_told_in_one_line(tmp_path, no_network, dataset):
    told = message(dataset, tmp_path / "new")
    assert told.startswith(f"dataset '{dataset}': ")
    assert "no network" in told or "could not be downloaded" in told
    assert str(tmp_path / "new") in told


def test_the_cache_is_the_default_place(tmp_path, no_network, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert str(tmp_path / "fl-sparse") in message("cifar10", "")


def test_a_download_is_asked_for_with_the_published_sum(tmp_path, monkeypatch, write_cifar):
    asked = []

    def download(url, root, md5):
        asked.append((url, md5))
        write_cifar(tmp_path, "cifar10")

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", download)
    train, _ = load_images("cifar10", str(tmp_path), data_seed=0)
    load_images("cifar10", str(tmp_path), data_seed=0)
    assert len(train) == 25
    assert asked == [("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")]


@pytest.mark.parametrize(("dataset", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_records(tmp_path, write_cifar, dataset, classes):
    images, labels = write_cifar(tmp_path, dataset)
    train, test = load_images(dataset, str(tmp_path), data_seed=0)
    assert len(train.classes) == classes
    assert train.labels.tolist() == labels["train"].tolist()
    assert test.labels.tolist() == labels["test"].tolist()
    assert all((train.pixels(row) == images["train"][row]).all() for row in range(len(train)))
    assert train.fingerprint != test.fingerprint


def test_cifar_files_that_do_not_fit(tmp_path, write_cifar):
    write_cifar(tmp_path, "cifar10")
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    batch.write_bytes(batch.read_bytes()[:-1])
    assert "data_batch_3.bin: 15364 bytes; expected whole records of 3073 bytes" in message("cifar10", tmp_path)
    batch.unlink()
    assert "cannot read" in message("cifar10", tmp_path)
    assert "data_batch_3.bin" in message("cifar10", tmp_path)


def test_mnist_from_the_files_that_torchvision_keeps(tmp_path, write_mnist, no_network):
    images, labels = write_mnist(tmp_path)
    train, test = load_images("mnist", str(tmp_path), data_seed=0)
    assert (len(train), len(test)) == (12, 4)
    assert train.labels.tolist() == labels["train"].tolist()
    assert (train.pixels(3) == images["train"][3][:, :, None]).all()
    assert train.classes[0] == "0 - zero"
    raw = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:-9])
    assert "dataset 'mnist': cannot read it in" in message("mnist", tmp_path)


def test_eurosat_is_split(tmp_path, class_folders, no_network):
    class_folders(tmp_path / "eurosat" / "2750", ["Forest", "River"], 20)
    train, test = load_images("eurosat", str(tmp_path), data_seed=0)
    assert train.classes == ("Forest", "River")
    assert np.bincount(train.labels).tolist() == [16, 16]
    assert np.bincount(test.labels).tolist() == [4, 4]
    (tmp_path / "eurosat" / "2750" / "River" / "River_007.png").write_bytes(b"nonsense")
    position = train.source.dataset.samples.index((str(tmp_path / "eurosat" / "2750" / "River" / "River_007.png"), 1))
    with pytest.raises(InputError, match=f"eurosat train, image {position}: cannot read the image"):
        train.source.pixels(position)


def write_split_files(root, dataset, png):
    """Write an image of each of three classes for either part, as torchvision keeps a set."""
    names = {"train": ["a/1", "b/2", "c/3"], "test": ["a/4", "b/5", "c/6"]}
    files = {}
    if dataset == "dtd":
        for split, images in names.items():
            files[f"dtd/dtd/labels/{split}1.txt"] = "".join(f"{name}.jpg\n" for name in images)
        folder = "dtd/dtd/images"
    elif dataset == "food101":
        for split, images in names.items():
            listed = {label: [name for name in images if name[0] == label] for label in "abc"}
            files[f"food-101/meta/{split}.json"] = json.dumps(listed)
        folder = "food-101/images"
    elif dataset == "pets":
        names = {split: [name.replace("/", "_") for name in images] for split, images in names.items()}
        for split, images in names.items():
            lines = "".join(f"{name} {'abc'.index(name[0]) + 1} 1 1\n" for name in images)
            files[f"oxford-iiit-pet/annotations/{'trainval' if split == 'train' else split}.txt"] = lines
        folder = "oxford-iiit-pet/images"
    else:
        names = {split: [name.replace("/", "_") for name in images] for split, images in names.items()}
        for split, images in names.items():
            lines = "".join(f"{name} {name[0]}\n" for name in images)
            split = "trainval" if split == "train" else split
            files[f"fgvc-aircraft-2013b/data/images_variant_{split}.txt"] = lines
        files["fgvc-aircraft-2013b/data/variants.txt"] = "a\nb\nc\n"
        folder = "fgvc-aircraft-2013b/data/images"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for name in names["train"] + names["test"]:
        image = root / folder / f"{name}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(png(int(name[-1])))


@pytest.mark.parametrize("dataset", ["aircraft", "dtd", "food101", "pets"])
def test_sets_of_listed_files(tmp_path, png, pixels, no_network, dataset):
    write_split_files(tmp_path, dataset, png)
    train, test = load_images(dataset, str(tmp_path), data_seed=0)
    assert train.labels.tolist() == test.labels.tolist() == [0, 1, 2]
    assert len(train.classes) == 3
    assert (train.pixels(2) == pixels(3)).all()
    assert (test.pixels(0) == pixels(4)).all()


def test_traffic_signs(tmp_path, pixels, no_network):
    signs = {"Training/00000/1.ppm": 1, "Training/00001/2.ppm": 2, "Final_Test/Images/3.ppm": 3}
    for path, seed in signs.items():
        file = tmp_path / "gtsrb" / "GTSRB" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(seed)).save(file)
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n3.ppm;2\n")
    train, test = load_images("gtsrb", str(tmp_path), data_seed=0)
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [2]
    assert train.classes == test.classes == ("0", "1", "2")
    assert (test.pixels(0) == pixels(3)).all()


def test_every_torchvision_set_exists_there():
    import torchvision

    for name, known in TORCHVISION_SETS.items():
        assert hasattr(torchvision.datasets, known.class_name), name
        assert SOURCES[name].needs_network
