"""Features: computed once from a shard by a frozen encoder, stored, pooled, standardised."""

from fl_sparse.features.compute import PRECISIONS, compute_features
from fl_sparse.features.moments import Moments, Standardizer, merge, moments_of
from fl_sparse.features.pooled import POOLINGS, Features, pool
from fl_sparse.features.store import feature_key, stored_features

__all__ = [
    "POOLINGS",
    "PRECISIONS",
    "Features",
    "Moments",
    "Standardizer",
    "compute_features",
    "feature_key",
    "merge",
    "moments_of",
    "pool",
    "stored_features",
]
