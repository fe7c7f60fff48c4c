"""Tokens of visible patches: timm's own at full view, and a transformer written out in NumPy at partial view."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from fl_sparse.encoder.initialization import sincos_positions
from fl_sparse.encoder.visible import check_supported, encode_visible
from fl_sparse.errors import InputError
from fl_sparse.patches import patchify

SIZE, PATCH, DEPTH, HEADS, WIDTH = 24, 6, 2, 2, 16
N = (SIZE // PATCH) ** 2

VARIANTS = {
    "class token": {},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "class token without position": {"no_embed_class": True},
    "registers": {"reg_tokens": 3},
    "registers without position": {"reg_tokens": 3, "no_embed_class": True},
    "registers alone": {"reg_tokens": 2, "class_token": False, "global_pool": "avg"},
    "norm before the blocks": {"pre_norm": True},
    "norm after pooling": {"global_pool": "avg"},
    "no position": {"pos_embed": "none"},
    "norm of patches": {"embed_norm_layer": torch.nn.LayerNorm},
    "any size": {"dynamic_img_size": True},
    "layer scale and normalised queries": {"init_values": 0.1, "qk_norm": True},
}


def small_vit(**options) -> VisionTransformer:
    torch.manual_seed(3)
    model = VisionTransformer(
        img_size=SIZE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=0, **options
    ).eval()
    with torch.no_grad():
        for weight in model.parameters():  # every parameter matters: none stays at zero or one
            weight.add_(torch.randn_like(weight) * 0.2)
    return model


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def as_input(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(patchify(pixels, PATCH)).float() / 255


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_full_view_equals_timm(options) -> None:
    model = small_vit(**options)
    pixels = images(3)
    dense = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    kept = torch.arange(N).expand(3, -1)
    with torch.no_grad():
        expected = model.forward_features(dense)
        found = encode_visible(model, as_input(pixels), kept)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-6) * weight + bias


def slow_tokens(model: VisionTransformer, image: np.ndarray, kept: list[int]) -> np.ndarray:
    """Return the tokens of one image (H, W, 3) in float64, patch by patch and head by head."""
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    tokens = [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
    for index in kept:
        row, column = divmod(index, SIZE // PATCH)
        patch = image[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH].astype(np.float64) / 255
        value = w["patch_embed.proj.bias"].copy()
        for channel in range(3):
            value += np.einsum("dij,ij->d", w["patch_embed.proj.weight"][:, channel], patch[:, :, channel])
        tokens.append(value + w["pos_embed"][0, 1 + index])
    x = np.array(tokens)
    for block in range(DEPTH):
        b = {name.removeprefix(f"blocks.{block}."): v for name, v in w.items() if name.startswith(f"blocks.{block}.")}
        y = layer_norm(x, b["norm1.weight"], b["norm1.bias"])
        qkv = y @ b["attn.qkv.weight"].T + b["attn.qkv.bias"]
        mixed = np.zeros_like(x)
        size = WIDTH // HEADS
        for head in range(HEADS):
            q, k, v = (qkv[:, part * WIDTH + head * size : part * WIDTH + (head + 1) * size] for part in range(3))
            score = np.exp(q @ k.T / math.sqrt(size))
            mixed[:, head * size : (head + 1) * size] = score / score.sum(-1, keepdims=True) @ v
        x = x + mixed @ b["attn.proj.weight"].T + b["attn.proj.bias"]
        y = layer_norm(x, b["norm2.weight"], b["norm2.bias"]) @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
        y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
        x = x + y @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]
    return layer_norm(x, w["norm.weight"], w["norm.bias"])


@pytest.mark.parametrize("count", [1, 2, 5, N - 1])
def test_partial_view_equals_a_transformer_written_out(count: int) -> None:
    model = small_vit()
    pixels = images(3, seed=count)
    kept = np.array([np.random.default_rng([count, i]).permutation(N)[:count] for i in range(3)])
    patches = torch.gather(as_input(pixels), 1, torch.from_numpy(kept)[..., None].expand(-1, -1, 3 * PATCH**2))
    with torch.no_grad():
        found = encode_visible(model, patches, torch.from_numpy(kept)).numpy()
    for i in range(3):
        np.testing.assert_allclose(found[i], slow_tokens(model, pixels[i], list(kept[i])), atol=2e-5)


def test_only_kept_tokens_enter_the_blocks() -> None:
    model = small_vit(reg_tokens=2)
    seen: list[tuple[int, ...]] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    encode_visible(model, as_input(images(2))[:, :4], torch.tensor([[0, 3, 5, 9], [1, 2, 4, 8]]))
    assert seen == [(2, 1 + 2 + 4, WIDTH)] * DEPTH


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True), st.randoms(use_true_random=False))
def test_order_of_patches_does_not_matter(kept: list[int], random) -> None:
    model = small_vit()
    order = list(range(len(kept)))
    random.shuffle(order)
    patches, indices = as_input(images(1))[:, kept], torch.tensor([kept])
    with torch.no_grad():
        straight = encode_visible(model, patches, indices)
        shuffled = encode_visible(model, patches[:, order], indices[:, order])
    torch.testing.assert_close(shuffled[:, 0], straight[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shuffled[:, 1:], straight[:, 1:][:, order], atol=1e-5, rtol=1e-5)


def test_position_table_written_out() -> None:
    width, side = 8, 3
    table = sincos_positions(width, side)
    assert (table[0] == 0).all()
    for row in range(side):
        for column in range(side):
            expected = []
            for place in (column, row):
                angles = [place / 10000 ** (i / (width / 4)) for i in range(width // 4)]
                expected += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            np.testing.assert_allclose(table[1 + row * side + column], expected)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (torch.nn.Linear(2, 2), "a Linear is not supported"),
        (VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=1, in_chans=1), "3 channels"),
        (
            VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=1, patch_drop_rate=0.5),
            "patch_drop_rate",
        ),
    ],
)
def test_refuses_what_it_would_get_wrong(model, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        check_supported(model, "mine")
    assert str(caught.value).startswith("mine: ")
    assert "\n" not in str(caught.value)
