import numpy as np
import pytest
from PIL import Image

from fl_sparse.data.client_rows import ClientRows
from fl_sparse.data.partition import partition
from fl_sparse.data.partition_picture import draw_partition, partition_counts


def test_counts():
    labels = np.array([0, 2, 2, 1, 0])
    parts = ClientRows.of([np.array([0, 1, 4]), np.array([2, 3])])
    assert partition_counts(labels, parts, 4).tolist() == [[2, 0, 1, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize(("num_clients", "num_classes"), [(1, 1), (2, 10), (100, 45), (1500, 10)])
def test_a_picture_of_any_split(tmp_path, num_clients, num_classes):
    labels = np.arange(500) % num_classes
    scheme = "iid" if num_clients <= 500 else "bootstrap"
    parts = partition(scheme, labels, num_clients=num_clients, data_seed=0)
    draw_partition(labels, parts, [f"class {number}" for number in range(num_classes)], tmp_path / "split.png")
    with Image.open(tmp_path / "split.png") as picture:
        assert 400 < picture.width < 2200
        assert 200 < picture.height < 1600
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
