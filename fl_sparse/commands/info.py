"""List encoders, data sources, mask rules, and the versions installed."""

import platform
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

SUMMARY = "list encoders, data sources, mask rules and versions"
PACKAGES = (
    "numpy",
    "torch",
    "timm",
    "torchvision",
    "flwr",
    "flwr-datasets",
    "ray",
    "safetensors",
    "pillow",
    "scikit-learn",
)
_WIDTH = 79
_INDENT = "  "
_NO_BREAK = "\u00a0"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments: there are none."""


def run(args: Namespace) -> int:
    """Print the lists; return the exit code."""
    from fl_sparse import __version__
    from fl_sparse.data.sources import SOURCES
    from fl_sparse.encoder.spec import SHIPPED, encoder_spec
    from fl_sparse.masks.spec import MAX_RATIO, RULES

    shipped = encoder_spec(SHIPPED)
    sizes = f"{shipped.image_size}×{shipped.image_size} pixels in patches of {shipped.patch_size}×{shipped.patch_size}"
    print("Encoders (encoder)")
    _rows(
        [
            (SHIPPED, f"comes with the package: {sizes}, {shipped.width} features a token"),
            ("TIMM NAME", "any plain ViT with pretrained weights, downloaded once, such as the masked autoencoders"),
            ("", "vit_base_patch16_224.mae, vit_large_patch16_224.mae, vit_huge_patch14_224.mae"),
            ("FILE", "a .safetensors file of the command 'pretrain' or 'convert'"),
        ]
    )
    print("\nData sources (dataset)")
    groups: dict[str, list[tuple[str, str]]] = {"ready": [], "from data-dir": [], "downloaded at first use": []}
    for name, info in SOURCES.items():
        kind = "downloaded at first use" if info.needs_network else "from data-dir" if info.needs_data_dir else "ready"
        groups[kind].append((name, info.description))
    for title, sources in groups.items():
        print(f"{_INDENT}{title}")
        _rows(sources, width=max(map(len, SOURCES)), indent=2 * _INDENT)
    print(f"\nMask rules (mask), mask-ratio from 0 to {MAX_RATIO}")
    _rows(RULES.items())
    print("\nVersions")
    versions = textwrap.wrap(", ".join(_versions(__version__)), _WIDTH - len(_INDENT))
    print("\n".join(_INDENT + line.replace(_NO_BREAK, " ") for line in versions))
    return 0


def _rows(rows: Iterable[tuple[str, str]], *, width: int = 0, indent: str = _INDENT) -> None:
    """Print names and descriptions in two columns, wrapped."""
    rows = list(rows)
    width = width or max(len(name) for name, _ in rows)
    for name, description in rows:
        lead = f"{indent}{name:<{width}}  "
        print(textwrap.fill(description, _WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)))


def _versions(own: str) -> list[str]:
    """Return names with versions, each kept on one line."""
    found = [("fl-sparse", own), ("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "missing"))
    return [f"{name}{_NO_BREAK}{number}" for name, number in found]
