"""The configuration of a run: one frozen dataclass, the source of every default.

Keys are kebab-case and scalars, as Flower's run configuration wants them; ``[tool.flwr.app.config]`` in
``pyproject.toml`` repeats the defaults (a test holds both equal) and a recipe is a TOML file of overrides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from fl_sparse.codec import CODECS
from fl_sparse.config.device_profiles import parse_profiles
from fl_sparse.config.values import Scalar, check_range, kebab, parse_shares, parse_widths, shown
from fl_sparse.data.partition import SCHEMES
from fl_sparse.errors import KEYS_LIST, InputError, nearest
from fl_sparse.features.compute import PRECISIONS
from fl_sparse.features.pooled import POOLINGS
from fl_sparse.learn.absent_classes import ABSENT_CLASSES
from fl_sparse.learn.optimizers import OPTIMIZERS
from fl_sparse.masks.spec import MAX_RATIO, RULES, SCHEDULES, SHARERS
from fl_sparse.model.mlp import ACTIVATIONS, NORMALIZATIONS, SCALE_RULES

INITS = ("uniform", "ridge")
OPTIMIZER_STATES = ("fresh", "kept")
EVALUATIONS = ("server", "clients", "none")
COUNTS = (
    "num_server_rounds",
    "local_steps",
    "batch_size",
    "repartition_every",
    "evaluate_every",
    "classes_per_client",
    "images_per_client",
    "mask_views",
)
SERVER_OPTIMIZERS = ("average", "momentum", "adagrad", "adam", "yogi")
BIAS_UPDATES = ("aggregate", "drop")


def _key(default: Scalar, about: str, choices: Collection[str] = ()) -> Any:
    return field(default=default, metadata={"about": about, "choices": choices})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result; ``seed`` never changes masks or splits, ``data-seed`` does."""

    dataset: str = _key("digits", "data source; `python -m fl_sparse info` lists them")
    data_dir: str = _key("", "folder of the data source's files")
    image_column: str = _key("", "image column of a table ('' = found by its type)")
    label_column: str = _key("", "label column of a table ('' = label)")
    id_column: str = _key("", "column that names the client an image belongs to (partition natural)")
    folds: int = _key(0, "test on one of so many folds of all images (0 = the source's own test images)")
    fold: int = _key(0, "the fold held out, from 0")
    train_images: int = _key(0, "training images used, validation included, each class in proportion (0 = all)")
    num_clients: int = _key(0, "clients of the federation (0 = one a node; 4 in-process)")
    clients_per_round: int = _key(0, "clients drawn each round (0 = all)")
    partition: str = _key("iid", "how images are split over clients", tuple(SCHEMES))
    alpha: float = _key(0.5, "concentration of the dirichlet partition")
    classes_per_client: int = _key(2, "classes a client holds in the pathological partition")
    images_per_client: int = _key(20, "images a client draws, with replacement, in the bootstrap partition")
    capacities: str = _key("1.0", "share of the hidden units that clients can hold, in turn, as in '1,1/2,1/4*2'")
    encoder: str = _key("shipped", "'shipped', a timm model name, or a .safetensors file")
    encoder_normalization: str = _key("model", "'model' = the encoder's own mean and std, or 'half' = 0.5 and 0.5")
    pooling: str = _key("both", "which feature the MLP reads", POOLINGS)
    standardize: bool = _key(True, "scale features by the federation's mean and variance")
    precision: str = _key("float32", "arithmetic of the encoder", PRECISIONS)
    mask: str = _key("random", "mask rule", tuple(RULES))
    mask_schedule: str = _key("fixed", "one mask an image, or mask-views of them", SCHEDULES)
    mask_ratio: float = _key(0.5, "share of the patches removed, 0 to 0.95")
    test_mask_ratio: float = _key(-1.0, "the same for validation and test images (-1 = mask-ratio)")
    mask_views: int = _key(8, "masks an image has under the resampled schedule")
    mask_shared_by: str = _key("client", "who shares a mask under rule 'shared'", SHARERS)
    strategy: str = _key("ist", "federated strategy; strategies/registry.py lists them")
    num_subnets: int = _key(4, "IST: disjoint parts of every hidden layer")
    ordered_shares: str = _key("0.2,0.4,0.6,0.8,1", "FjORD: shares of the units that local steps draw from, ascending")
    self_distillation: bool = _key(False, "FjORD: the widest sub-model learns from labels, the drawn one from it")
    hidden_widths: str = _key("1000,1000", "units of each hidden layer; 'none' = a linear classifier")
    activation: str = _key("relu", "hidden activation", ACTIVATIONS)
    normalization: str = _key("none", "'layer': LayerNorm before each activation", NORMALIZATIONS)
    scale: str = _key("mean", "scale of a subnet's pre-activations", SCALE_RULES)
    bias_updates: str = _key("aggregate", "'drop': biases keep their initial values, for comparison", BIAS_UPDATES)
    init: str = _key("uniform", "'ridge': beside the closed-form solution as a fixed linear term", INITS)
    ridge_penalty: float = _key(0.0, "penalty of strategy or init 'ridge' (0 = chosen on validation images)")
    dropout_probability: float = _key(0.0, "chance that a client asked in a round never answers (simulated)")
    device_profiles: str = _key(
        "", "virtual clock: clients' devices in turn, as in 'phone*3,jetson-nano' ('' = no clock)"
    )
    round_deadline: float = _key(0.0, "simulated seconds after which a round's replies are lost (0 = none)")
    num_server_rounds: int = _key(40, "rounds of the run")
    local_steps: int = _key(20, "optimiser steps of a client in a round (tau)")
    batch_size: int = _key(64, "examples in a step")
    optimizer: str = _key("adam", "clients' optimiser", OPTIMIZERS)
    learning_rate: float = _key(0.001, "clients' step size")
    momentum: float = _key(0.0, "momentum of SGD")
    optimizer_state: str = _key(
        "fresh", "clients' moments: anew each round, or kept by the server and sent along", OPTIMIZER_STATES
    )
    absent_classes: str = _key(
        "trained", "logits of classes that a client lacks; HeteroFL's masked loss is 'zeroed'", ABSENT_CLASSES
    )
    proximal: float = _key(0.0, "FedProx's mu: pull towards the weights received")
    update_format: str = _key("float32", "how clients' updates travel up, under any strategy", CODECS)
    error_feedback: bool = _key(False, "clients add what the format lost of an update to their next")
    broadcast_format: str = _key(
        "float32", "how parts travel down; clients' updates start from what they decode", CODECS
    )
    broadcast_error_feedback: bool = _key(False, "the server adds what the format lost of a part to its next")
    keep_residuals: bool = _key(True, "checkpoints hold the residuals of error feedback (in one process)")
    server_optimizer: str = _key(
        "average", "what the server does with the averaged change, under any strategy", SERVER_OPTIMIZERS
    )
    server_learning_rate: float = _key(0.0, "its step size (0 = 1 for average and momentum, 0.01 for the others)")
    server_momentum: float = _key(0.9, "its beta1: decay of the first moment")
    server_beta2: float = _key(0.99, "its beta2, of adam and yogi: decay of the second moment")
    server_tau: float = _key(0.001, "its tau, of adagrad, adam and yogi: keeps steps bounded where changes are small")
    repartition_every: int = _key(1, "rounds between two draws of the subnets")
    evaluate: str = _key("server", "who evaluates the global model", EVALUATIONS)
    evaluate_every: int = _key(1, "rounds between two evaluations")
    reply_timeout: float = _key(3600.0, "seconds a round waits for replies")
    data_seed: int = _key(0, "seed of masks, splits and validation")
    seed: int = _key(0, "seed of weights, subnets, batches and client draws")

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            choices = entry.metadata["choices"]
            if choices and value not in choices:
                raise InputError(f"{kebab(entry.name)} = {value!r} is unknown{nearest(str(value), choices)}")
            # What Flower's messages and TOML can hold.
            check_range(kebab(entry.name), value, not isinstance(value, int) or value < 2**63, "less than 2^63")
        widths = self.widths
        check_range("mask-ratio", self.mask_ratio, 0.0 <= self.mask_ratio <= MAX_RATIO, f"0 to {MAX_RATIO}")
        ratio = self.test_mask_ratio
        check_range(
            "test-mask-ratio",
            ratio,
            ratio == -1.0 or 0.0 <= ratio <= MAX_RATIO,
            f"0 to {MAX_RATIO}, or -1 for mask-ratio",
        )
        check_range("num-subnets", self.num_subnets, self.num_subnets >= 1, "1 or more")
        if self.strategy == "ist" and widths and self.num_subnets > min(widths):
            raise InputError(
                f"num-subnets = {self.num_subnets} is wider than hidden layer {widths.index(min(widths))} of "
                f"{min(widths)} units; expected 1 to {min(widths)}"
            )
        if self.normalization != "none" and not widths:
            raise InputError(
                f"normalization = {self.normalization!r}: hidden-widths = 'none' has no hidden layer to normalise"
            )
        self.capacity_of(0)
        shares = self.shares
        check_range("ordered-shares", self.ordered_shares, shares == tuple(sorted(set(shares))), "ascending numbers")
        for name in ("clients_per_round", "num_clients", "seed", "data_seed"):
            check_range(kebab(name), getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in COUNTS:
            check_range(kebab(name), getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in ("learning_rate", "alpha", "reply_timeout", "server_tau"):
            value = getattr(self, name)
            check_range(kebab(name), value, math.isfinite(value) and value > 0, "a positive number")
        check_range("train-images", self.train_images, self.train_images >= 0, "0 or more")
        check_range("folds", self.folds, self.folds == 0 or self.folds >= 2, "0, or 2 or more")
        if self.fold > 0 and not self.folds:
            raise InputError(f"fold = {self.fold}: needs folds, the number of them, as in folds = {self.fold + 1}")
        check_range("fold", self.fold, 0 <= self.fold < max(1, self.folds), f"0 to {max(1, self.folds) - 1}")
        if self.momentum and self.optimizer != "sgd":
            raise InputError(f"momentum = {self.momentum}: optimizer {self.optimizer!r} has none; it is for sgd")
        if self.error_feedback and CODECS[self.update_format].exact:
            raise InputError("error-feedback = true: update-format 'float32' loses nothing; expected bfloat16 or int8")
        if self.broadcast_error_feedback and CODECS[self.broadcast_format].exact:
            raise InputError(
                "broadcast-error-feedback = true: broadcast-format 'float32' loses nothing; expected bfloat16 or int8"
            )
        if not self.keep_residuals and not self.error_feedback:
            raise InputError("keep-residuals = false: without error-feedback there are none; expected true")
        if self.optimizer_state == "kept" and self.optimizer == "sgd" and not self.momentum:
            raise InputError("optimizer-state = 'kept': optimizer 'sgd' without momentum has no state to keep")
        if self.optimizer_state == "kept" and self.update_format != "float32":
            raise InputError(
                f"update-format = {self.update_format!r}: moments travel as they are; expected 'float32' beside "
                "optimizer-state = 'kept'"
            )
        for name in ("momentum", "server_momentum", "server_beta2", "dropout_probability"):
            value = getattr(self, name)
            check_range(kebab(name), value, 0.0 <= value < 1.0, "0 to below 1")
        rate = self.server_learning_rate
        check_range("server-learning-rate", rate, math.isfinite(rate) and rate >= 0, "0 or more")
        deadline = self.round_deadline
        check_range("round-deadline", deadline, math.isfinite(deadline) and deadline >= 0, "0 or more")
        if not parse_profiles(self.device_profiles) and deadline:
            raise InputError(
                f"round-deadline = {deadline:g} counts simulated seconds, and device-profiles is empty; "
                "expected profiles, as in 'phone,raspberry-pi-4'"
            )
        penalty = self.ridge_penalty
        check_range("ridge-penalty", penalty, math.isfinite(penalty) and penalty >= 0, "0 or more")
        if self.init == "ridge" and penalty == 0 and self.evaluate != "server":
            raise InputError(
                f"ridge-penalty = 0.0 is chosen on the server's validation images, but evaluate = {self.evaluate!r}"
            )
        check_range("proximal", self.proximal, math.isfinite(self.proximal) and self.proximal >= 0, "0 or more")
        if self.num_clients and self.clients_per_round > self.num_clients:
            raise InputError(
                f"clients-per-round = {self.clients_per_round} is more than num-clients = {self.num_clients}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each hidden layer, H_1 to H_L; none of a linear classifier."""
        return parse_widths("hidden-widths", self.hidden_widths)

    def capacity_of(self, client: int) -> float:
        """Capacity of a client by its partition id: the share of each hidden layer's units that it can hold."""
        shares = parse_shares("capacities", self.capacities)
        return shares[client % len(shares)]

    @property
    def shares(self) -> tuple[float, ...]:
        """FjORD's set P of shares, ascending."""
        return parse_shares("ordered-shares", self.ordered_shares)

    @property
    def views(self) -> int:
        """Masks an image has: V."""
        return self.mask_views if self.mask_schedule == "resampled" else 1

    @property
    def held_out_ratio(self) -> float:
        """Masking ratio of validation and test images."""
        return self.mask_ratio if self.test_mask_ratio == -1.0 else self.test_mask_ratio


FIELDS: Mapping[str, dataclasses.Field[Any]] = {kebab(entry.name): entry for entry in dataclasses.fields(RunConfig)}


def defaults() -> dict[str, Scalar]:
    """Return every key with its default, in the order of the dataclass."""
    return {key: default_of(key) for key in FIELDS}


def default_of(key: str) -> Scalar:
    """Return a key's default."""
    default: Any = FIELDS[key].default
    assert isinstance(default, str | int | float)
    return default


def from_mapping(values: Mapping[str, Any], *, source: str) -> RunConfig:
    """Build a configuration from kebab-case keys; ``source`` names where they came from in messages.

    Raises
    ------
    InputError
        For an unknown key (with the nearest valid one), a value of the wrong type, or one out of range.
    """
    chosen: dict[str, Scalar] = {}
    for key, value in values.items():
        if key not in FIELDS:
            raise InputError(f"{source}: unknown key {key!r}{nearest(key, FIELDS, see=KEYS_LIST)}")
        chosen[FIELDS[key].name] = _typed(key, value, source)
    return RunConfig(**chosen)  # type: ignore[arg-type]


def to_mapping(config: RunConfig) -> dict[str, Scalar]:
    """Return the resolved configuration with kebab-case keys."""
    return {key: getattr(config, entry.name) for key, entry in FIELDS.items()}


def _typed(key: str, value: Any, source: str) -> Scalar:
    default = default_of(key)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise InputError(f"{source}: {key} = {shown(value)} is no {type_name(default)}")
    return value


def type_name(default: Any) -> str:
    """Return what the values of a key are called, by its default."""
    return {bool: "truth value (true or false)", int: "whole number", float: "number", str: "text"}[type(default)]


def differing_keys(left: RunConfig, right: RunConfig) -> list[str]:
    """Return the keys whose values differ, in the order of the dataclass."""
    one, other = to_mapping(left), to_mapping(right)
    return [key for key in one if one[key] != other[key]]
