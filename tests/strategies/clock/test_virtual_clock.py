"""The virtual clock: seconds by hand, who is late, and what that costs."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_sparse.config.device_profiles import DeviceProfile
from fl_sparse.errors import InputError
from fl_sparse.wire import EvaluationReply, array_record, content_of_evaluation, wire_bytes
from server.flower_private import number_message
from strategies.clock.deadline import check_deadline
from strategies.clock.virtual_clock import ClientTime, VirtualClock
from strategies.registry import assignment_rule
from strategies.round.report import SHOWN
from tests.strategies.cohort_of_five import (
    CLIENTS,
    FIRST_NODE,
    Nodes,
    aggregate,
    answer,
    ask,
    cohort,
    configuration,
    model,
    network,
    strategy,
)

DEVICES = "phone,raspberry-pi-4"


def devices(name: str, deadline: float = 0.0, **changes):
    return configuration(name, device_profiles=DEVICES, round_deadline=deadline, **changes)


def deflated(node) -> int:
    """Bytes of a message's content as Flower itself deflates them."""
    return len(node.deflate()) + sum(deflated(child) for child in (node.children or {}).values())


def two_rounds(config) -> tuple:
    """Play two rounds; in the second, nobody needs the standardizer any more."""
    made, weights = strategy(config), model(config)
    aggregate(made, [answer(message) for message in ask(made, weights)])
    messages = ask(made, weights, 2)
    return made, messages, [answer(message) for message in messages]


def by_hand(message, reply, rows: int) -> float:
    """Seconds of a FedAvg client that trains on so many rows: 6 features, hidden layers of 9 and 7, 3 classes."""
    client = message.metadata.dst_node_id - FIRST_NODE
    down, up, rate = [(35.96e6 / 8, 11.22e6 / 8, 84.4e9 / 4), (85.73e6 / 8, 45.74e6 / 8, 8e9)][client % 2]
    flops = 2 * rows * (2 * 6 * 9 + 3 * 9 * 7 + 3 * 7 * 3)
    return deflated(message.content) / down + flops / rate + deflated(reply.content) / up


def test_a_round_takes_the_slowest_clients_time() -> None:
    made, messages, replies = two_rounds(devices("fedavg"))
    made.aggregate_train(2, replies)
    # Two steps of 4 a round: client 0 has 10 examples, so that its third step reads 2; all others read 8 rows.
    taken = [
        by_hand(message, reply, rows=6 if client == 0 else 8)
        for client, (message, reply) in enumerate(zip(messages, replies, strict=True))
    ]
    assert made.report.simulated_seconds == pytest.approx(max(taken), rel=1e-12)
    assert (made.report.late, made.report.lost) == (0, 0)


def test_without_profiles_there_is_no_clock() -> None:
    made, _, replies = two_rounds(configuration("fedavg"))
    made.aggregate_train(2, replies)
    assert made.report.simulated_seconds is None


def test_replies_are_as_long_as_foreseen(name: str) -> None:
    config = devices(name)
    made, weights = strategy(config), model(config)
    for number in (1, 2, 200):
        messages = ask(made, weights, number)
        foreseen = {node: time.bytes_up for node, time in made._times.items()}
        replies = [answer(message, 0.25, loss=1e-3) for message in messages]
        assert foreseen == {reply.metadata.src_node_id: wire_bytes(reply.content) for reply in replies}
        aggregate(made, replies, number)


def test_a_late_client_is_lost_and_says_why(name: str) -> None:
    free = strategy(devices(name))
    weights = model(free.config)
    ask(free, weights)
    seconds = sorted(time.seconds for time in free._times.values())
    deadline = (seconds[1] + seconds[2]) / 2
    config = devices(name, deadline)
    made = strategy(config)
    messages = ask(made, weights)
    assert len(messages) == 2
    merged = aggregate(made, [answer(message, 0.5) for message in messages])
    report = made.report
    assert (report.asked, report.answered, report.lost, report.late, report.refused) == (CLIENTS, 2, 3, 3, 0)
    assert report.simulated_seconds == deadline
    assert report.bytes_down == free.report.bytes_down
    assert len(report.reasons) == 3
    for reason in report.reasons:
        client = int(reason.split(":")[0].removeprefix("client "))
        taken = free._times[FIRST_NODE + client].seconds
        assert reason == f"client {client}: late: {taken:.3g} s, deadline {deadline:g} s"
    # The rest of the round is as if the late had been asked and stayed silent.
    early = {message.metadata.dst_node_id for message in messages}
    other = strategy(configuration(name))
    kept = [answer(m, 0.5) for m in ask(other, weights) if m.metadata.dst_node_id in early]
    for key, values in aggregate(other, kept).items():
        np.testing.assert_array_equal(merged[key], values)


@settings(max_examples=20, deadline=None)
@given(deadlines=st.lists(st.floats(1e-6, 1e-2), min_size=2, max_size=2), chance=st.sampled_from([0.0, 0.4]))
def test_a_longer_deadline_never_loses_more(deadlines: list[float], chance: float) -> None:
    reached = []
    for deadline in sorted(deadlines):
        made = strategy(devices("fedrolex", deadline, dropout_probability=chance))
        messages = ask(made, model(made.config), 3)
        made.aggregate_train(3, [answer(message) for message in messages])
        reached.append({message.metadata.dst_node_id for message in messages})
        assert made.report.lost == CLIENTS - len(messages)
        assert made.report.late <= made.report.lost
        assert made.report.simulated_seconds <= deadline
    assert reached[0] <= reached[1]


def test_who_drops_out_is_waited_for_until_the_deadline() -> None:
    def seconds(deadline: float, answering: int) -> float | None:
        made = strategy(devices("fedavg", deadline))
        made.aggregate_train(1, [answer(message) for message in ask(made, model(made.config))[:answering]])
        assert made.report.late == 0
        return made.report.simulated_seconds

    assert seconds(60.0, CLIENTS) == seconds(0.0, CLIENTS) < 1
    assert seconds(60.0, CLIENTS - 1) == seconds(60.0, 0) == 60.0
    # Without a deadline the round lasts as long as the slowest of those that answer.
    assert seconds(0.0, 0) == seconds(0.0, CLIENTS)
    made = strategy(devices("fedavg"))
    ask(made, model(made.config))
    assert seconds(0.0, 2) == max(made._times[FIRST_NODE + client].seconds for client in (0, 1))


def test_a_reply_longer_than_foreseen_can_be_late() -> None:
    """As a device with other software might send it: what counts is what came."""
    free = strategy(devices("fedavg"))
    ask(free, model(free.config))
    made = strategy(devices("fedavg", max(time.seconds for time in free._times.values()) + 1e-6))
    messages = ask(made, model(made.config))
    long = answer(messages[0])
    long.content["more"] = messages[0].content["arrays"]
    aggregate(made, [long, *(answer(message) for message in messages[1:])])
    assert (made.report.late, made.report.lost, made.report.refused) == (1, 1, 0)
    assert made.report.reasons[0].startswith("client 0: late: ")


def test_reasons_stay_few_in_a_big_cohort() -> None:
    config = devices("fedavg", 1e-9)
    made = strategy(config)
    made.clients = {k: type(c)(**{**vars(c), "partition_id": k}) for k in range(50) for c in [cohort(config)[0]]}
    assert ask(made, model(config), order=list(range(50))) == []
    assert made.aggregate_train(1, []) == (None, None)
    assert (made.report.late, made.report.lost) == (50, 50)
    assert len(made.report.reasons) == SHOWN + 1
    assert made.report.reasons[-1] == "late: 40 more clients"


def test_evaluations_by_clients_take_time_and_are_never_late() -> None:
    made = strategy(devices("fedavg", 60.0, evaluate="clients"))
    weights = model(made.config)
    aggregate(made, [answer(message) for message in ask(made, weights)])
    before = made.report.simulated_seconds
    messages = list(made.configure_evaluate(1, array_record(weights), ConfigRecord(), Nodes(made.clients)))
    replies = []
    for number, message in enumerate(messages):
        number_message(message)
        content = content_of_evaluation(EvaluationReply(1, 0.5, 1.0, 10 * (number + 1)))
        replies.append(Message(content, reply_to=message))
    made.aggregate_evaluate(1, replies)
    down, up, rate = 35.96e6 / 8, 11.22e6 / 8, 84.4e9 / 4
    flops = 2 * 50 * (6 * 9 + 9 * 7 + 7 * 3)
    last = deflated(messages[-1].content) / down + flops / rate + deflated(replies[-1].content) / up
    assert made.report.simulated_seconds == pytest.approx(before + last, rel=1e-9)


def test_a_deadline_that_nobody_can_meet_is_refused(name: str) -> None:
    free = strategy(devices(name))
    weights = model(free.config)

    def check(deadline: float, **changes) -> None:
        config = devices(name, deadline, **changes)
        check_deadline(config, assignment_rule(config), cohort(config), network(config))

    times = []
    for number in range(1, 41):
        ask(free, weights, number)
        times += [(time.seconds, node - FIRST_NODE) for node, time in free._times.items()]
    fastest, client = min(times)
    check(0.0)
    check(fastest * 1.0001)
    words = rf"no client can answer in time in any of 40 rounds; the fastest, client {client} \(.*\), takes"
    with pytest.raises(InputError, match=words) as caught:
        # The clock foresees the same times as the rounds have, but for a few bytes of larger numbers.
        check(fastest * 0.99)
    assert f"takes {fastest:.3g} s" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_round_is_the_slowest_of_those_that_answer() -> None:
    profile = DeviceProfile("toy", published=10.0, share=0.5, download=100.0, upload=50.0)
    quick, slow = ClientTime(profile, 100, 5.0, 50), ClientTime(profile, 200, 10.0, 100)
    assert (quick.seconds, slow.seconds) == (3.0, 6.0)
    clock = VirtualClock((profile,), 4.0)
    assert (clock.is_late(quick), clock.is_late(slow)) == (False, True)
    assert clock.late_words(slow) == "late: 6 s, deadline 4 s"
    assert clock.round_seconds([quick], []) == 3.0
    assert clock.round_seconds([quick], [slow]) == 4.0
    forever = VirtualClock((profile,), 0.0)
    assert not forever.is_late(slow)
    assert forever.round_seconds([quick], [slow]) == 3.0
    assert forever.round_seconds([], [quick, slow]) == 6.0
    assert forever.round_seconds([], []) == 0.0
