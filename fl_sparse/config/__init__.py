"""The configuration of a run: its keys, their defaults, and their text."""

from fl_sparse.config.run_config import (
    FIELDS,
    RunConfig,
    default_of,
    defaults,
    differing_keys,
    from_mapping,
    to_mapping,
    type_name,
)

__all__ = [
    "FIELDS",
    "RunConfig",
    "default_of",
    "defaults",
    "differing_keys",
    "from_mapping",
    "to_mapping",
    "type_name",
]
