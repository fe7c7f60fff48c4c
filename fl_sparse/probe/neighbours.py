"""k-nearest neighbours on features, weighted by cosine similarity.

Shapes: n training images · m test images · F features · C classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.07
"""Of a neighbour's vote, exp(similarity / temperature), as in Wu et al., CVPR 2018."""
ROWS = 1000
"""Test images compared at a time."""


def nearest_neighbours(train: Tensor, labels: Tensor, test: Tensor, *, num_classes: int, k: int = 20) -> Tensor:
    """Return the predicted class of each test image, int64 (m,).

    Parameters
    ----------
    train, test
        float32 (n, F) and (m, F).
    labels
        int64 (n,).
    num_classes
        C.
    k
        Neighbours that vote; all images where there are fewer.
    """
    bank = functional.normalize(train, dim=1)
    one_hot = functional.one_hot(labels, num_classes).to(train.dtype)
    predicted = []
    queries = functional.normalize(test, dim=1)
    for start in range(0, len(queries), ROWS):
        rows = queries[start : start + ROWS]
        similarity, nearest = (rows @ bank.T).topk(min(k, len(bank)), dim=1)
        votes = ((similarity / TEMPERATURE).exp()[..., None] * one_hot[nearest]).sum(dim=1)
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)
