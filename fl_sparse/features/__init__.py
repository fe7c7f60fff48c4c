"""Features: computed once from a shard by a frozen encoder, stored, pooled, standardised."""

from fl_sparse.features.compute import PRECISIONS, compute_features
from fl_sparse.features.pooled import POOLINGS, Features, pool
from fl_sparse.features.statistics import FeatureStatistics, Standardizer, merge, statistics_of
from fl_sparse.features.store import feature_key, stored_features

__all__ = [
    "POOLINGS",
    "PRECISIONS",
    "Features",
    "FeatureStatistics",
    "Standardizer",
    "compute_features",
    "feature_key",
    "merge",
    "statistics_of",
    "pool",
    "stored_features",
]
