"""Pretrain an encoder by reconstructing hidden patches of unlabelled images (a masked autoencoder).

The folder gets state.safetensors after each epoch: the same command carries on from it, also after a kill, and on the
CPU ends in the same bits. Beside it encoder.safetensors (of the epochs done), loss.png, and pictures/ of original,
masked and reconstructed images.

  python -m fl_sparse pretrain --data parquet --data-dir DIR --out runs/pretrain --epochs 20
"""

import argparse
import os
import subprocess
from dataclasses import fields
from pathlib import Path

from fl_sparse.command_line import make_folder
from fl_sparse.errors import InputError
from fl_sparse.pretraining.recipe import PRECISIONS, Recipe, usual_warmup

SUMMARY = "pretrain an encoder on unlabelled images"
SET_HERE = ("precision", "start_from", "warmup_epochs")
"""Recipe fields that have an option of their own meaning here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options: data, folder, machine, and every field of the recipe."""
    parser.add_argument("--data", required=True, help="name of a data source, see 'info'")
    parser.add_argument("--data-dir", default="", help="folder of the data")
    parser.add_argument("--data-seed", type=int, default=0, help="seed of the split of a source that has none (0)")
    parser.add_argument("--image-column", default="", help="column of the images in a table (found by type)")
    parser.add_argument("--limit", type=int, default=0, help="use the first images only (0: all)")
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="CUDA if there is one (auto)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of PyTorch (0: its own choice)")
    parser.add_argument(
        "--workers", type=int, default=0, help="threads that cut crops (0: 1 on a CPU, else half the cores)"
    )
    parser.add_argument("--keep-every", type=int, default=0, help="keep the encoder of every so many epochs (0: none)")
    parser.add_argument(
        "--start-from", default="", help="encoder whose weights the run begins with; its schedule is new"
    )
    parser.add_argument(
        "--precision", default="auto", choices=("auto", *PRECISIONS), help="bfloat16 where the processor has it (auto)"
    )
    parser.add_argument("--warmup-epochs", type=float, help="epochs of the linear warm-up (a twentieth of all)")
    for item in fields(Recipe):
        if item.name not in SET_HERE:
            name = "--" + item.name.replace("_", "-")
            parser.add_argument(
                name, type=type(item.default), default=item.default, help=f"{item.metadata['help']} ({item.default})"
            )


def has_bfloat16(device: str) -> bool:
    """Return whether a processor multiplies bfloat16 natively."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_capability() >= (8, 0)
    flags = Path("/proc/cpuinfo")
    words = set(flags.read_text().split()) if flags.exists() else set()
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def current_commit() -> str:
    """Return the commit of the checkout this code runs from, marked if changed since; empty for an installed one."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        tracked = subprocess.run(
            [*command[:3], "ls-files", "--error-unmatch", __file__], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if tracked.returncode == 0 else ""


def run(args: argparse.Namespace) -> int:
    """Pretrain, or carry on; return the exit code."""
    for name in ("limit", "threads", "workers", "keep_every", "data_seed"):
        if getattr(args, name) < 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: expected 0 or more")
    import torch

    from fl_sparse.data.sources import load_images
    from fl_sparse.encoder.load import load_encoder
    from fl_sparse.pretraining.autoencoder import MaskedAutoencoder
    from fl_sparse.pretraining.beginning import PICTURES, check_folder, check_model, earlier_progress
    from fl_sparse.pretraining.decoded import DecodedImages
    from fl_sparse.pretraining.loop import pretrain
    from fl_sparse.pretraining.pictures import draw_losses, draw_reconstruction, reconstruction, whole_images
    from fl_sparse.pretraining.reporting import duration, shown_steps
    from fl_sparse.pretraining.result import save_result
    from fl_sparse.pretraining.state import Progress

    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no CUDA device; expected 'cpu', or a machine with one")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    if args.threads:
        torch.set_num_threads(args.threads)
    check_folder(args.out)
    start = load_encoder(args.start_from) if args.start_from else None
    values = {item.name: getattr(args, item.name) for item in fields(Recipe) if item.name not in SET_HERE}
    if start is not None and not values["blocks"]:
        values["blocks"] = int(start.spec.options.get("depth", 0))
    automatic = "bfloat16" if has_bfloat16(device) else "float32"
    recipe = Recipe(
        **values,
        precision=automatic if args.precision == "auto" else args.precision,
        start_from=start.spec.digest if start else "",
        warmup_epochs=usual_warmup(args.epochs) if args.warmup_epochs is None else args.warmup_epochs,
    )
    check_model(recipe, start.model if start else None)
    train, _ = load_images(args.data, args.data_dir, data_seed=args.data_seed, image_column=args.image_column)
    count = min(args.limit or len(train), len(train))
    images = DecodedImages(train, count)
    earlier_progress(args.out, recipe, images)
    samples = whole_images(images, recipe.image_size)
    make_folder(args.out / PICTURES, "--out")
    commit = current_commit()
    data = f"{train.name}: {count:,} images, without labels"
    print(f"{data}; {recipe.model}, {recipe.precision}, {device}, {torch.get_num_threads()} CPU threads", flush=True)

    def after_epoch(model: MaskedAutoencoder, recipe: Recipe, progress: Progress) -> None:
        number = progress.epochs_done
        save_result(args.out / "encoder.safetensors", model, recipe, progress, data=data, commit=commit)
        if args.keep_every and number % args.keep_every == 0:
            kept = args.out / f"encoder-{number:04}.safetensors"
            save_result(kept, model, recipe, progress, data=data, commit=commit)
        draw_losses(args.out / "loss.png", progress.losses)
        masked, painted = reconstruction(model, recipe, samples)
        draw_reconstruction(args.out / PICTURES / f"epoch-{number:04}.png", (samples, masked, painted))

    workers = args.workers or (1 if device == "cpu" else max(1, (os.cpu_count() or 2) // 2))
    try:
        with shown_steps(recipe.epochs) as show:
            _, progress = pretrain(
                images,
                recipe,
                args.out,
                device=device,
                workers=workers,
                start=start.model if start else None,
                on_step=show,
                on_epoch=after_epoch,
            )
    except KeyboardInterrupt:
        print(f"stopped; the same command carries on from the last whole epoch in {args.out}")
        return 130
    print(
        f"{progress.epochs_done} epochs in {duration(progress.seconds)}, loss {progress.losses[-1]:.4f}; "
        f"{args.out / 'encoder.safetensors'}"
    )
    return 0
