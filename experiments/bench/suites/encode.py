"""Suite ``encode``: visible patches at ρ = 0.75 against timm's dense forward; same model, batch and dtype.

Symbols: B images in a batch, N patches of an image, K kept, D width, M hidden units of a block's MLP, P values a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.bench.results import Comparison, Measurement, SuiteResult, measured
from experiments.bench.settings import Settings
from experiments.bench.timing import Timing, interleaved, ratio

RATIO = 0.75
GOAL = 0.9
CAVEATS = (
    "dense: timm's forward_features on float pixels; visible: Encoder.tokens on uint8 patches, with their scaling",
    "FLOPs: matrix products of patch embedding, blocks and attention, counted from shapes",
    "goal: the speed-up is at least 0.9 of the ratio of FLOPs; the table shows speed-up ÷ ratio of FLOPs",
    "ViT-B/16 has untrained weights: they decide no time",
)


@dataclass(frozen=True)
class Case:
    """A model and a batch."""

    label: str
    architecture: str
    options: dict[str, Any]
    batch: int
    repeats: int


def cases(quick: bool) -> list[Case]:
    """Return what is timed; batches are of those that encoding a shard uses: about 4,096 visible tokens on a CPU."""
    if quick:
        tiny = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 1, "num_heads": 2}
        return [Case("tiny", "vit_tiny_patch16_224", tiny, 4, 2)]
    return [
        Case("shipped (ViT, 32 pixels)", "", {}, 240, 12),
        Case("ViT-B/16, 224 pixels", "vit_base_patch16_224", {}, 16, 4),
    ]


def run(settings: Settings) -> SuiteResult:
    """Time each model in float32 and bfloat16."""
    measurements: list[Measurement] = []
    comparisons: list[Comparison] = []
    details: dict[str, Any] = {}
    for case in cases(settings.quick):
        for precision in ("float32", "bfloat16"):
            settings.told(f"encoding with {case.label} in {precision}")
            timings, flops = _time(case, precision, settings)
            name = f"{case.label}, {precision}"
            for kind in ("dense", "visible"):
                measurements.append(measured(f"{name}, {case.batch} images {kind}", timings[kind]))
            faster = ratio(timings["dense"], timings["visible"])
            comparisons.append(Comparison(f"{name}: dense ÷ visible", faster.value, faster.low, faster.high))
            comparisons.append(
                Comparison(
                    f"{name}: speed-up ÷ ratio of FLOPs ({flops:.2f})",
                    faster.value / flops,
                    faster.low / flops,
                    faster.high / flops,
                    f"≥ {GOAL}",
                )
            )
            details[name] = {
                "ratio of FLOPs": flops,
                "images a second": {kind: case.batch / timing.median for kind, timing in timings.items()},
                **{kind: timing.steady for kind, timing in timings.items()},
            }
    return SuiteResult("encode", tuple(measurements), tuple(comparisons), CAVEATS, details)


def _time(case: Case, precision: str, settings: Settings) -> tuple[dict[str, Timing], float]:
    import torch

    encoder = _encoder(case, settings.device)
    spec, model = encoder.spec, encoder.model
    rng = np.random.default_rng(0)
    grid = (spec.image_size // spec.patch_size) ** 2
    kept_count = max(1, int(grid * (1 - RATIO) + 1e-9))
    kept = np.sort(rng.permuted(np.tile(np.arange(grid), (case.batch, 1)), axis=1)[:, :kept_count], axis=1)
    patches = rng.integers(256, size=(case.batch, kept_count, 3 * spec.patch_size**2), dtype=np.uint8)
    images = torch.randn((case.batch, 3, spec.image_size, spec.image_size), device=settings.device)
    device = torch.device(settings.device).type

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    def dense() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            model.forward_features(images).float()
        wait()

    def visible() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            encoder.tokens(patches, kept)
        wait()

    timings = interleaved({"dense": dense, "visible": visible}, repeats=case.repeats, warm_up=1)
    return timings, forward_flops(model, grid, grid) / forward_flops(model, grid, kept_count)


def _encoder(case: Case, device: str) -> Any:
    import torch

    from fl_sparse.encoder import load_encoder
    from fl_sparse.encoder.frozen import Encoder
    from fl_sparse.encoder.initialization import initialize_encoder
    from fl_sparse.encoder.load import build_model
    from fl_sparse.encoder.spec import EncoderSpec

    if not case.architecture:
        return load_encoder("shipped", device=device)
    model = build_model(case.architecture, case.options, case.label)
    initialize_encoder(model, torch.Generator().manual_seed(0))
    embed: Any = model.patch_embed
    spec = EncoderSpec(
        name=case.label,
        architecture=case.architecture,
        options=case.options,
        image_size=embed.img_size[0],
        patch_size=embed.patch_size[0],
        width=int(model.num_features),  # type: ignore[arg-type]
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        digest="",
        path=None,
    )
    return Encoder(spec, model.to(device), mean=spec.mean, std=spec.std)


def forward_flops(model: Any, grid: int, kept: int) -> float:
    """Return the FLOPs of one image's pass with so many of the grid's patches kept: 2 a multiplication and addition."""
    tokens, width = kept + model.num_prefix_tokens, model.embed_dim
    total: float = 2.0 * kept * width * model.patch_embed.proj.weight[0].numel()
    for block in model.blocks:
        products = block.attn.qkv.weight.numel() + block.attn.proj.weight.numel()
        products += block.mlp.fc1.weight.numel() + block.mlp.fc2.weight.numel()
        total += 2.0 * tokens * products + 4.0 * tokens * tokens * width
    return total
