"""Which classes each client holds, when each holds a few."""

import numpy as np
from numpy.typing import NDArray

from fl_sparse.errors import InputError


def deal_classes(
    num_classes: int, num_clients: int, classes_per_client: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Deal shuffled packs of all classes, one pack after the other, so that no class is left out.

    Parameters
    ----------
    num_classes
        C.
    num_clients
        M.
    classes_per_client
        k, from 1 to C, with M·k ≥ C.
    rng
        Shuffles the packs.

    Returns
    -------
    M arrays of k distinct classes; every class is held by ⌊M·k/C⌋ or ⌈M·k/C⌉ clients.

    Raises
    ------
    InputError
        If k is out of range or M·k < C.
    """
    if not 1 <= classes_per_client <= num_classes:
        raise InputError(f"classes-per-client {classes_per_client}: expected 1 to {num_classes}, the number of classes")
    if num_clients * classes_per_client < num_classes:
        raise InputError(
            f"num-clients {num_clients} with classes-per-client {classes_per_client} can hold "
            f"{num_clients * classes_per_client} of the {num_classes} classes; expected all"
        )
    pack: list[int] = []
    dealt = []
    for _ in range(num_clients):
        hand = pack[:classes_per_client]
        pack = pack[classes_per_client:]
        if len(hand) < classes_per_client:
            # The rest of a hand comes from the next pack, without the classes that the hand has already.
            fresh = [int(label) for label in rng.permutation(num_classes)]
            more = [label for label in fresh if label not in hand][: classes_per_client - len(hand)]
            pack = [label for label in fresh if label not in more]
            hand += more
        dealt.append(np.array(hand, dtype=np.int64))
    return dealt
