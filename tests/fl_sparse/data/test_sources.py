"""One contract for every source that needs no network."""

import numpy as np
import pytest

from fl_sparse.data.sources import SOURCES, load_images
from fl_sparse.errors import InputError


@pytest.fixture
def make_source(tmp_path, class_folders, write_parquet, write_cifar, write_mnist, monkeypatch):
    """Write what a source reads; return the name to ask for and the folder."""

    def parquet(root):
        write_parquet(root / "train.parquet", label=[row % 3 for row in range(20)])
        write_parquet(root / "test.parquet", label=[0, 1, 2, 2])

    writers = {
        "digits": lambda root: None,
        "parquet": parquet,
        "imagefolder": lambda root: class_folders(root, ["a", "b"], 20),
        "resisc45": lambda root: class_folders(root, [f"scene{label}" for label in range(45)], 7),
        "aid": lambda root: class_folders(root, [f"scene{label}" for label in range(30)], 7),
        "cifar10": lambda root: write_cifar(root, "cifar10"),
        "cifar100": lambda root: write_cifar(root, "cifar100"),
        "mnist": write_mnist,
        "eurosat": lambda root: class_folders(root / "eurosat" / "2750", ["Forest", "River"], 20),
        "hf:table": parquet,
        "hf:folder": lambda root: [class_folders(root / split, ["a", "b"], 8) for split in ("train", "test")],
    }

    def make(source):
        root = tmp_path / source.removeprefix("hf:")
        root.mkdir()
        writers[source](root)
        if not source.startswith("hf:"):
            return source, str(root)
        return f"hf:{root}", str(tmp_path / "cache")

    return make


@pytest.mark.parametrize(
    "source",
    [
        "digits",
        "parquet",
        "imagefolder",
        "resisc45",
        "aid",
        "cifar10",
        "cifar100",
        "mnist",
        "eurosat",
        "hf:table",
        "hf:folder",
    ],
)
def test_every_source(source, make_source):
    dataset, folder = make_source(source)
    parts = load_images(dataset, folder, data_seed=0)
    for images, again in zip(parts, load_images(dataset, folder, data_seed=0), strict=True):
        assert len(images) == len(images.labels) > 0
        assert images.labels.dtype == np.int64
        assert 0 <= images.labels.min() <= images.labels.max() < len(images.classes)
        assert all(isinstance(name, str) and name for name in images.classes)
        assert images.ids is None
        assert len(images.fingerprint) == 64
        assert int(images.fingerprint, 16)
        assert images.fingerprint == again.fingerprint
        assert (images.labels == again.labels).all()
        assert len({images.describe(row) for row in range(len(images))}) == len(images)
        for row in (0, len(images) - 1):
            pixels = images.pixels(row)
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert (pixels == again.pixels(row)).all()
            validity = images.validity(row)
            assert validity is None or (validity.dtype == bool and validity.shape == pixels.shape[:2])
    train, test = parts
    assert train.classes == test.classes
    assert train.fingerprint != test.fingerprint
    assert train.name != test.name


def test_digits():
    train, test = load_images("digits", "", data_seed=0)
    assert (len(train), len(test)) == (1438, 359)
    assert train.pixels(0).shape == (8, 8, 3)
    levels = {int(level) for row in range(100) for level in np.unique(train.pixels(row))}
    assert {0, 255} <= levels
    assert levels <= {round(level * 255 / 16) for level in range(17)} | {128}
    assert load_images("digits", "", data_seed=1)[0].fingerprint != train.fingerprint


def test_hugging_face_columns_and_ids(tmp_path, write_parquet):
    users = [f"user {row % 4}" for row in range(20)]
    write_parquet(tmp_path / "set" / "train.parquet", kind=["b", "a"] * 10, user=users)
    dataset, cache = f"hf:{tmp_path / 'set'}", str(tmp_path / "cache")
    train, test = load_images(dataset, cache, data_seed=0, label_column="kind", id_column="user")
    assert train.classes == ("a", "b")
    assert (len(train), len(test)) == (17, 3)
    assert set(train.ids) == set(users)
    with pytest.raises(InputError, match="label-column 'kinds' is not there; did you mean 'kind'"):
        load_images(dataset, cache, data_seed=0, label_column="kinds")


def test_hugging_face_without_a_network_or_a_name(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise ConnectionError("Couldn't reach the Hub\nat all")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(InputError) as caught:
        load_images("hf:owner/images", str(tmp_path), data_seed=0)
    assert str(caught.value).startswith(
        "dataset 'hf:owner/images' could not be loaded (Couldn't reach the Hub at all);"
    )
    with pytest.raises(InputError, match="expected hf:NAME"):
        load_images("hf:", "", data_seed=0)


def test_hugging_face_needs_training_images(tmp_path, write_parquet):
    write_parquet(tmp_path / "set" / "test.parquet", label=[0, 1])
    with pytest.raises(InputError, match="no split 'train' among: test"):
        load_images(f"hf:{tmp_path / 'set'}", str(tmp_path / "cache"), data_seed=0)


def test_unknown_names():
    with pytest.raises(InputError, match=r"^unknown dataset 'cifar-10'; did you mean 'cifar10'\?$"):
        load_images("cifar-10", "", data_seed=0)
    with pytest.raises(InputError, match=r"^label-column 'x': dataset 'digits' has no columns; it must be empty$"):
        load_images("digits", "", data_seed=0, label_column="x")


def test_a_folder_of_parquet_files_is_recognised(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", label=[0, 1])
    with pytest.raises(InputError, match=r"holds train\.parquet: expected dataset 'parquet', not 'cifar10'"):
        load_images("cifar10", str(tmp_path), data_seed=0)


def test_what_is_told_of_each_source():
    for name, info in SOURCES.items():
        assert info.description, name
        assert "\n" not in info.description
        assert not (info.needs_network and info.needs_data_dir)
