"""The embedded data set: scikit-learn's 1,797 handwritten digits of 8×8 pixels (UCI, E. Alpaydin and C. Kaynak)."""

import hashlib

import numpy as np

from fl_sparse.data.images import ImageSet
from fl_sparse.data.in_memory import ArrayImages, drawn_test_split
from fl_sparse.data.request import SourceRequest

TEST_SHARE = 0.2


def load_digits(request: SourceRequest) -> tuple[ImageSet, ImageSet]:
    """Return 80 % of the digits and the others, stratified and seeded; grey levels 0 to 16 become 0 to 255."""
    from sklearn.datasets import load_digits as sklearn_digits

    found = sklearn_digits()
    levels = found.images.astype(np.int64)
    values = ((levels * 255 + 8) // 16).astype(np.uint8)
    labels = found.target.astype(np.int64)
    whole = ArrayImages(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        labels=labels,
        fingerprint=hashlib.sha256(values.tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
        values=values,
    )
    return drawn_test_split(whole, "digits", data_seed=request.data_seed, test_share=TEST_SHARE)
