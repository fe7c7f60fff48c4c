"""Who holds which training images, when a run uses only some of them."""

import numpy as np
import pytest

from fl_sparse.config import RunConfig
from fl_sparse.errors import InputError
from fl_sparse.federation.tables import held_out_tables, holdings, training_table


def test_a_tenth_of_the_images_used_is_validation_and_all_test_images_stay() -> None:
    whole, some = holdings(RunConfig(), 3), holdings(RunConfig(train_images=300), 3)
    used = np.concatenate([*some.parts, some.validation])
    assert len(used) == len(np.unique(used)) == 300
    assert len(some.validation) == 30
    assert len(some.test) == len(whole.test)
    shares = np.bincount(some.train.labels[used]) / 300
    np.testing.assert_allclose(shares, np.bincount(some.train.labels) / len(some.train), atol=1 / 300)


def test_an_image_keeps_its_mask_when_fewer_are_used(tiny_encoder: str) -> None:
    whole, some = (
        RunConfig(encoder=tiny_encoder, train_images=images, partition="full", mask_ratio=0.75) for images in (0, 200)
    )
    of_whole, of_some = holdings(whole, 1).parts[0], holdings(some, 1).parts[0]
    both = np.intersect1d(of_whole, of_some)
    assert len(both) > 100
    np.testing.assert_array_equal(
        training_table(some, 1).table.features[:, np.searchsorted(of_some, both)],
        training_table(whole, 1).table.features[:, np.searchsorted(of_whole, both)],
    )
    assert len(held_out_tables(some, 1).test.labels) == len(held_out_tables(whole, 1).test.labels)


def test_more_images_than_there_are_is_one_line() -> None:
    with pytest.raises(InputError, match="train-images = 99999, but there are"):
        holdings(RunConfig(train_images=99999), 1)
