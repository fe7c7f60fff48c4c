"""Measure what a frozen encoder's features tell about classes, at several masking ratios.

A linear probe, ridge regression and nearest neighbours on the class token, the mean of the kept tokens, and both,
beside the same on raw pixels and on the untrained encoder. Prints a table; --out also gets probe.csv, line by line as
results come, and probe.png.

  python -m fl_sparse probe --encoder shipped --data parquet --data-dir DIR --out runs/probe
"""

import argparse
import sys
from pathlib import Path

from fl_sparse.command_line import make_folder
from fl_sparse.errors import InputError, nearest

SUMMARY = "measure an encoder by nearest neighbours and linear probes"
READOUT_NAMES = ("linear", "ridge", "knn")
POOLING_NAMES = ("cls", "mean", "both")
RESULTS = ("probe.csv", "probe.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--encoder", default="shipped", help="'shipped', a timm name or a .safetensors file (shipped)")
    parser.add_argument("--normalization", default="model", help="of pixels: 'model', 'half' or numbers (model)")
    parser.add_argument("--data", required=True, help="name of a data source, see 'info'")
    parser.add_argument("--data-dir", default="", help="folder of the data")
    parser.add_argument("--data-seed", type=int, default=0, help="seed of the split of a source that has none (0)")
    parser.add_argument("--image-column", default="", help="column of the images in a table (found by type)")
    parser.add_argument("--label-column", default="", help="column of the labels in a table (found by type)")
    parser.add_argument("--ratios", default="0,0.5,0.75,0.9", help="masking ratios (0,0.5,0.75,0.9)")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions for the encoder; baselines have one (3)")
    parser.add_argument("--limit", type=int, default=0, help="training images used (0: all)")
    parser.add_argument("--readouts", default=",".join(READOUT_NAMES), help="of linear, ridge and knn (all)")
    parser.add_argument("--poolings", default=",".join(POOLING_NAMES), help="of cls, mean and both (all)")
    parser.add_argument("--no-baselines", action="store_true", help="leave out raw pixels and the untrained encoder")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"), help="of the encoder")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="CUDA if there is one (auto)")
    parser.add_argument("--out", type=Path, help="folder for probe.csv and probe.png, which must not be there")


def _chosen(text: str, valid: tuple[str, ...], option: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in valid:
            raise InputError(f"{option} {name!r} is unknown{nearest(name, valid)}")
    return names


def run(args: argparse.Namespace) -> int:
    """Probe; return the exit code."""
    try:
        ratios = tuple(float(part) for part in args.ratios.split(","))
    except ValueError:
        raise InputError(f"--ratios {args.ratios!r}: expected numbers with commas, such as 0,0.5") from None
    readouts = _chosen(args.readouts, READOUT_NAMES, "--readouts")
    poolings = _chosen(args.poolings, POOLING_NAMES, "--poolings")
    if args.data_seed < 0:
        raise InputError(f"--data-seed {args.data_seed}: expected 0 or more")
    if args.seeds < 1:
        raise InputError(f"--seeds {args.seeds}: expected at least 1")
    if args.limit < 0:
        raise InputError(f"--limit {args.limit}: expected 0 or more")
    for name in RESULTS:
        if args.out is not None and (args.out / name).exists():
            raise InputError(f"--out {args.out}: {name} of an earlier probe is there; expected another folder")
    import torch

    from fl_sparse.data.sources import load_images
    from fl_sparse.encoder.load import load_encoder, untrained_encoder
    from fl_sparse.probe.grid import Grid, check_limit, probe_grid
    from fl_sparse.probe.measurement import Measurement
    from fl_sparse.probe.report import draw_probe, probe_table, write_measurements

    grid = Grid(ratios, args.seeds, args.limit, readouts, poolings, args.precision)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no CUDA device; expected 'cpu', or a machine with one")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    encoder = load_encoder(args.encoder, normalization=args.normalization, device=device)
    train, test = load_images(
        args.data,
        args.data_dir,
        data_seed=args.data_seed,
        image_column=args.image_column,
        label_column=args.label_column,
    )
    check_limit(train, grid)
    untrained = None
    if not args.no_baselines:
        untrained = untrained_encoder(encoder.spec, seed=0, normalization=args.normalization, device=device)
    if args.out is not None:
        make_folder(args.out, "--out")
    found: list[Measurement] = []
    shown = sys.stderr.isatty()
    for one in probe_grid(
        train,
        test,
        encoder,
        grid,
        untrained=untrained,
        pixels=not args.no_baselines,
        device=device,
        progress=lambda line: print(line, file=sys.stderr, flush=True) if shown else None,
    ):
        found.append(one)
        if args.out is not None:
            write_measurements(args.out / "probe.csv", found)
    print(f"{test.name}: accuracy on {len(test):,} images, %; {args.seeds} seed{'s' if args.seeds > 1 else ''}")
    print(probe_table(found))
    if args.out is not None:
        write_measurements(args.out / "probe.csv", found)
        draw_probe(args.out / "probe.png", found)
        print(f"wrote {args.out / 'probe.csv'} and {args.out / 'probe.png'}")
    return 0
