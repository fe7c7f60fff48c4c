"""Sub-model methods on a toy, straight from their papers' definitions, in plain Python.

``python tests/strategies/methods/toy.py > tests/strategies/toy.json`` writes them down.

Two hidden layers of 4 units, 2 inputs, 2 classes; three clients of capacities 1, 1/2 and 1/4 with 3, 1 and 2 examples.
The whole model holds 0 everywhere, and clients answer 1, 2 and 4 in every coordinate they hold. Nothing here imports
what is tested.
"""

import json
import math

import numpy

INPUTS, WIDTHS, CLASSES = 2, (4, 4), 2
CAPACITIES, EXAMPLES, ANSWERS = (1.0, 0.5, 0.25), (3, 1, 2), (1.0, 2.0, 4.0)
SEED = 0
ORDERED_SHARES = (0.25, 0.75, 1.0)


def heterofl(round_number: int, client: int) -> list[list[int]]:
    """HeteroFL, section 3: the first r K units."""
    return [list(range(math.ceil(CAPACITIES[client] * width))) for width in WIDTHS]


def fedrolex(round_number: int, client: int) -> list[list[int]]:
    """FedRolex, section 3: from j mod K on, floor(beta K) units, in two pieces when they wrap around."""
    sets = []
    for width in WIDTHS:
        first, size = (round_number - 1) % width, math.floor(CAPACITIES[client] * width)
        if first + size <= width:
            sets.append(list(range(first, first + size)))
        else:
            sets.append(list(range(first, width)) + list(range(first + size - width)))
    return sets


def federated_dropout(round_number: int, client: int) -> list[list[int]]:
    """Federated Dropout, section 3.2: a random subset of fixed size, of each client's own; purpose 16 of our draws."""
    sets = []
    for layer, width in enumerate(WIDTHS):
        rng = numpy.random.default_rng([16, SEED, round_number, client, layer])
        size = math.ceil(CAPACITIES[client] * width)
        sets.append(rng.choice(width, size=size, replace=False, shuffle=False).tolist())
    return sets


def fjord(round_number: int, client: int) -> list[list[int]]:
    """FjORD, section 3: the first p K units for the largest p of P = {1/4, 3/4, 1} that the capacity admits."""
    p_max = max(p for p in ORDERED_SHARES if p <= CAPACITIES[client])
    return [list(range(math.ceil(p_max * width))) for width in WIDTHS]


METHODS = {
    # name: (index sets, whether the paper weighs by examples)
    "heterofl": (heterofl, False),
    "fedrolex": (fedrolex, True),
    "federated-dropout": (federated_dropout, True),
    "fjord": (fjord, True),
}


def averages(sets: list[list[list[int]]], by_examples: bool) -> dict[str, list]:
    """Each coordinate's mean over the clients that hold it, 0 where none does."""
    weights = EXAMPLES if by_examples else (1, 1, 1)

    def mean(holds) -> float:
        holders = [client for client in range(3) if holds(client)]
        total = sum(weights[client] for client in holders)
        return sum(weights[client] * ANSWERS[client] for client in holders) / total if holders else 0.0

    first, second = WIDTHS
    return {
        "hidden.0.weight": [[mean(lambda k, o=o: o in sets[k][0]) for _ in range(INPUTS)] for o in range(first)],
        "hidden.0.bias": [mean(lambda k, o=o: o in sets[k][0]) for o in range(first)],
        "hidden.1.weight": [
            [mean(lambda k, o=o, i=i: o in sets[k][1] and i in sets[k][0]) for i in range(first)] for o in range(second)
        ],
        "hidden.1.bias": [mean(lambda k, o=o: o in sets[k][1]) for o in range(second)],
        "output.weight": [[mean(lambda k, i=i: i in sets[k][1]) for i in range(second)] for _ in range(CLASSES)],
        "output.bias": [mean(lambda k: True) for _ in range(CLASSES)],
    }


def constants() -> dict[str, list]:
    """Name -> rounds 1 to 6 -> the clients' index sets and the averages."""
    made: dict[str, list] = {}
    for name, (index_sets, by_examples) in METHODS.items():
        made[name] = []
        for round_number in range(1, 7):
            sets = [index_sets(round_number, client) for client in range(3)]
            held = [[sorted(layer) for layer in client] for client in sets]
            made[name].append({"units": held, "averages": averages(sets, by_examples)})
    return made


if __name__ == "__main__":
    print(json.dumps(constants(), indent=1))
