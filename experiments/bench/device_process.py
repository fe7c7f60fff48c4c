"""What a device's process does for one train message: read it, train on stored features, write the reply.

``python -m experiments.bench.device_process SETTINGS ORDER REPLY``: files of the run and node configuration (JSON), of
the message's content, and for the reply's (Flower's protobuf). Prints its peak memory. In a deployment Flower starts
such a process for each message, and moves the bytes over a socket.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from client.app import app
from experiments.bench.child import peak_bytes
from server.flower_private import identify_process, number_message


def main() -> None:
    """Answer the message."""
    settings, order, reply = (Path(name) for name in sys.argv[1:])
    given = json.loads(settings.read_text(encoding="utf-8"))
    identify_process(1, 1)
    context = Context(1, 7, given["node-config"], RecordDict(), given["run-config"])
    content = recorddict_from_proto(ProtoRecordDict.FromString(order.read_bytes()))
    message = Message(content, 7, "train")
    number_message(message)
    answer = app(message, context)
    reply.write_bytes(recorddict_to_proto(answer.content).SerializeToString())
    print(json.dumps({"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
