"""Target, loss and gradients of the masked autoencoder against slow computations."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_sparse.patches import patchify
from fl_sparse.pretraining.autoencoder import MaskedAutoencoder, patch_target
from fl_sparse.pretraining.loop import Batch, batch_loss
from fl_sparse.pretraining.recipe import Recipe

RECIPE = Recipe(
    model="test_vit",
    image_size=24,
    patch_size=6,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
    batch_size=4,
    epochs=2,
    warmup_epochs=0.5,
)
N, P = 16, 108


def pixels(count: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)


def orders(count: int = 4, seed: int = 0) -> np.ndarray:
    return np.array([np.random.default_rng([seed, i]).permutation(N) for i in range(count)])


def inputs(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(patchify(images, 6)).float() / 127.5 - 1


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, (3, 2, 5), elements=st.floats(-2, 2)))
def test_target_written_out(values: np.ndarray) -> None:
    found = patch_target(torch.from_numpy(values)).numpy()
    for i in range(3):
        for j in range(2):
            patch = values[i, j]
            mean = sum(patch) / 5
            variance = sum((value - mean) ** 2 for value in patch) / 4
            np.testing.assert_allclose(found[i, j], [(v - mean) / (variance + 1e-6) ** 0.5 for v in patch], atol=1e-9)


def test_loss_is_the_mean_over_hidden_patches_alone() -> None:
    model = MaskedAutoencoder(RECIPE)
    images, order = pixels(), orders()
    with torch.no_grad():
        loss = model(inputs(images), torch.from_numpy(order)).item()
        predicted = model.reconstruct(inputs(images), torch.from_numpy(order)).double().numpy()
    errors = []
    for i in range(4):
        for place, index in enumerate(order[i, model.visible :]):
            row, column = divmod(int(index), 4)
            patch = images[i, row * 6 : row * 6 + 6, column * 6 : column * 6 + 6].astype(np.float64).ravel() / 127.5 - 1
            target = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
            errors.extend((predicted[i, place] - target) ** 2)
    assert model.visible == 4
    assert len(errors) == 4 * 12 * P
    np.testing.assert_allclose(loss, np.mean(errors), rtol=1e-5)


def test_prediction_sees_visible_patches_only() -> None:
    model = MaskedAutoencoder(RECIPE)
    order = torch.from_numpy(orders())
    first, second = inputs(pixels(seed=1)), inputs(pixels(seed=2))
    visible = order[:, : model.visible, None].expand(-1, -1, P)
    second.scatter_(1, visible, torch.gather(first, 1, visible))
    with torch.no_grad():
        assert torch.equal(model.reconstruct(first, order), model.reconstruct(second, order))


def test_gradients_reach_the_encoder_only_through_visible_patches() -> None:
    model = MaskedAutoencoder(RECIPE)
    order = torch.from_numpy(orders())
    patches = inputs(pixels()).requires_grad_()
    model.reconstruct(patches, order).square().sum().backward()
    assert patches.grad is not None
    reached = patches.grad.abs().sum(-1) > 0
    expected = torch.zeros(4, N, dtype=torch.bool).scatter_(1, order[:, : model.visible], True)
    assert torch.equal(reached, expected)
    # the position of a patch that is hidden in every image gets no gradient either
    model.encoder.pos_embed.requires_grad_(True)
    same = order[:1].expand(4, -1)
    model(inputs(pixels()), same).backward()
    touched = model.encoder.pos_embed.grad[0, 1:].abs().sum(-1) > 0
    assert set(torch.nonzero(touched).ravel().tolist()) == set(same[0, : model.visible].tolist())


def gradients(recipe: Recipe) -> tuple[float, dict[str, torch.Tensor]]:
    model = MaskedAutoencoder(recipe)
    loss = batch_loss(model, Batch(patchify(pixels(), 6), orders()), recipe)
    return loss, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    from dataclasses import replace

    whole_loss, whole = gradients(RECIPE)
    for parts in (2, 4):
        loss, found = gradients(replace(RECIPE, accumulate=parts))
        assert abs(loss - whole_loss) < 1e-6
        for name, gradient in whole.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_bfloat16_gradients_are_close_and_kept_in_single_precision() -> None:
    from dataclasses import replace

    whole_loss, whole = gradients(RECIPE)
    loss, found = gradients(replace(RECIPE, precision="bfloat16"))
    assert abs(loss - whole_loss) < 0.02 * whole_loss
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    for name, gradient in whole.items():
        assert torch.nn.functional.cosine_similarity(found[name].ravel(), gradient.ravel(), dim=0) > 0.95, name


def test_initial_weights_depend_on_the_seed_alone() -> None:
    from dataclasses import replace

    torch.manual_seed(1)
    first = MaskedAutoencoder(RECIPE).state_dict()
    torch.manual_seed(2)
    again = MaskedAutoencoder(RECIPE).state_dict()
    other = MaskedAutoencoder(replace(RECIPE, seed=1)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["mask_token"], other["mask_token"])


def test_positions_are_fixed() -> None:
    model = MaskedAutoencoder(RECIPE)
    assert not model.encoder.pos_embed.requires_grad
    assert not model.decoder_position.requires_grad
