"""A process boundary: what Flower writes of a message, and reads of it again."""

from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto


def across(content: RecordDict) -> RecordDict:
    return recorddict_from_proto(recorddict_to_proto(content))
