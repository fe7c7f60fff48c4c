import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


@pytest.fixture
def encode() -> Callable[[NDArray[np.uint8]], bytes]:
    def make(pixels: NDArray[np.uint8]) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    return make


@pytest.fixture
def pixels() -> Callable[..., NDArray[np.uint8]]:
    """Make an image from a seed; its first pixel's red value is the seed, so that rows can be told apart."""

    def make(seed: int, height: int = 6, width: int = 9) -> NDArray[np.uint8]:
        image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image[0, 0] = seed
        return image

    return make


@pytest.fixture
def png(pixels: Callable[..., NDArray[np.uint8]], encode: Callable[..., bytes]) -> Callable[..., bytes]:
    return lambda seed, *size: encode(pixels(seed, *size))


@pytest.fixture
def class_folders(png: Callable[..., bytes]) -> Callable[..., Path]:
    """Write `count` images into a folder for each class, with sizes that differ."""

    def make(root: Path, classes: list[str], count: int) -> Path:
        for label, name in enumerate(classes):
            (root / name).mkdir(parents=True)
            for number in range(count):
                (root / name / f"{name}_{number:03d}.png").write_bytes(png(label, 5 + number % 3, 6))
        return root

    return make


@pytest.fixture
def write_parquet(png: Callable[..., bytes]) -> Callable[..., None]:
    """Write a Parquet file with an image column (bytes and path), and any other columns."""
    import pyarrow as pa
    from pyarrow import parquet

    def make(path: Path, *, metadata: dict[str, str] | None = None, **columns: list[object]) -> None:
        rows = len(next(iter(columns.values())))
        if "image" not in columns:
            columns["image"] = [{"bytes": png(row), "path": f"{row}.png"} for row in range(rows)]
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), path)

    return make


@pytest.fixture
def write_cifar() -> Callable[..., tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.int64]]]]:
    """Write the binary version of CIFAR with five records a file; return images and labels by split."""
    layout = {
        "cifar10": ("cifar-10-batches-bin", "batches.meta.txt", 10, 5, "data_batch_{}.bin", "test_batch.bin"),
        "cifar100": ("cifar-100-binary", "fine_label_names.txt", 100, 1, "train.bin", "test.bin"),
    }

    def make(root: Path, name: str) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.int64]]]:
        folder, names, classes, batches, train, test = layout[name]
        (root / folder).mkdir()
        (root / folder / names).write_text("".join(f"class{label}\n" for label in range(classes)) + "\n")
        rng = np.random.default_rng(0)
        images, labels = {}, {}
        files = {"train": [train.format(batch + 1) for batch in range(batches)], "test": [test]}
        for split, parts in files.items():
            count = 5 * len(parts)
            images[split] = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
            labels[split] = rng.integers(0, classes, count)
            coarse = [np.full((count, 1), 200, np.uint8)] if name == "cifar100" else []
            planes = images[split].transpose(0, 3, 1, 2).reshape(count, -1)
            records = np.concatenate([*coarse, labels[split][:, None].astype(np.uint8), planes], axis=1)
            for part, content in zip(parts, np.split(records, len(parts)), strict=True):
                (root / folder / part).write_bytes(content.tobytes())
        return images, labels

    return make


@pytest.fixture
def write_mnist() -> Callable[[Path], tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.int64]]]]:
    """Write MNIST's raw files as torchvision keeps them; return images and labels by split."""

    def make(root: Path) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.int64]]]:
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True)
        rng = np.random.default_rng(0)
        images, labels = {}, {}
        for split, prefix, count in (("train", "train", 12), ("test", "t10k", 4)):
            images[split] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels[split] = np.arange(count) % 10
            header = np.array([2051, count, 28, 28], dtype=">i4").tobytes()
            (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images[split].tobytes())
            header = np.array([2049, count], dtype=">i4").tobytes()
            (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels[split].astype(np.uint8).tobytes())
        return images, labels

    return make
