"""What all tests share: a store of their own, and an encoder small enough to forget."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_store(tmp_path_factory) -> Path:
    """Keep the tests' shards and features away from the user's; shared by all tests of a session."""
    folder = tmp_path_factory.mktemp("store")
    patch = pytest.MonkeyPatch()
    patch.setenv("FL_SPARSE_STORE", str(folder))
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> str:
    """A file with an untrained ViT: 8 x 8 pixels, patches of 2 (16 of them), 16 wide, one block."""
    import torch

    from fl_sparse.encoder.export import save_encoder
    from fl_sparse.encoder.header import EncoderHeader
    from fl_sparse.encoder.initialization import initialize_encoder
    from fl_sparse.encoder.load import build_model

    options = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 1, "num_heads": 2}
    model = build_model("vit_tiny_patch16_224", options, "tiny")
    initialize_encoder(model, torch.Generator().manual_seed(0))
    header = EncoderHeader(
        "vit_tiny_patch16_224", options, 8, 2, 16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), data="none: untrained"
    )
    path = tmp_path_factory.mktemp("encoder") / "tiny.safetensors"
    save_encoder(path, model, header, dtype=torch.float32)
    return str(path)
