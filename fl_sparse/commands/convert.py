"""Convert weights into an encoder's file: safetensors with a header.

From an official masked-autoencoder checkpoint (.pth with a 'model' key, with or without decoder), read without
unpickling code; from the state.safetensors of a pretraining run, finished or not; or, with --blocks, from the first
blocks of an encoder.

  python -m fl_sparse convert mae_pretrain_vit_base.pth --model vit_base_patch16_224 --out mae_base.safetensors
  python -m fl_sparse convert runs/pretrain/state.safetensors --out encoder.safetensors
  python -m fl_sparse convert shipped --blocks 8 --out smaller.safetensors
"""

import argparse
from pathlib import Path

from fl_sparse.errors import InputError

SUMMARY = "convert a checkpoint into an encoder's file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "checkpoint", type=Path, help="a .pth file, a run's state.safetensors, or with --blocks an encoder"
    )
    parser.add_argument("--blocks", type=int, default=0, help="keep so many blocks of an encoder, by name or file")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write; must not exist")
    parser.add_argument("--model", default="", help="timm name of a .pth file's model, such as vit_base_patch16_224")
    parser.add_argument("--image-size", type=int, default=0, help="pixels on a side of its input (0: the model's own)")
    parser.add_argument("--patch-size", type=int, default=0, help="pixels on a side of a patch (0: the model's own)")
    parser.add_argument("--normalization", default="imagenet", choices=("imagenet", "half"), help="of its pixels")
    parser.add_argument("--data", default="", help="what it was trained on, for the header")
    parser.add_argument("--commit", default="", help="commit a pretraining run was made from, for the header")
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"), help="type of the stored weights")


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit code."""
    if args.out.suffix != ".safetensors" or args.out.exists() or not args.out.parent.is_dir():
        raise InputError(f"--out {args.out}: expected a new .safetensors file in an existing folder")
    if args.blocks:
        import torch

        from fl_sparse.encoder.cut import cut_encoder

        _refuse_untaken(args, ("model", "image_size", "patch_size", "normalization", "data", "commit"), "--blocks")
        cut_encoder(str(args.checkpoint), args.out, blocks=args.blocks, dtype=getattr(torch, args.dtype))
    elif args.checkpoint.suffix == ".safetensors":
        from fl_sparse.pretraining.result import export_state

        if args.model or args.image_size or args.patch_size:
            raise InputError(
                f"{args.checkpoint}: names its own model; expected no --model, --image-size or --patch-size"
            )
        export_state(args.checkpoint, args.out, data=args.data, commit=args.commit)
    else:
        import torch

        from fl_sparse.encoder.convert import IMAGENET_MEAN, IMAGENET_STD, convert_checkpoint

        if not args.model:
            raise InputError(f"{args.checkpoint}: expected --model, the timm name of its architecture")
        sizes = {"img_size": args.image_size, "patch_size": args.patch_size}
        imagenet = args.normalization == "imagenet"
        convert_checkpoint(
            args.checkpoint,
            args.out,
            architecture=args.model,
            options={name: size for name, size in sizes.items() if size},
            mean=IMAGENET_MEAN if imagenet else (0.5, 0.5, 0.5),
            std=IMAGENET_STD if imagenet else (0.5, 0.5, 0.5),
            data=args.data,
            dtype=getattr(torch, args.dtype),
        )
    from fl_sparse.encoder.spec import encoder_spec

    spec = encoder_spec(str(args.out))
    print(
        f"{args.out}: {spec.architecture}, {spec.image_size}x{spec.image_size} pixels in patches of {spec.patch_size}, "
        f"width {spec.width}, {args.out.stat().st_size:,} bytes, SHA-256 {spec.digest[:12]}"
    )
    return 0


def _refuse_untaken(args: argparse.Namespace, names: tuple[str, ...], option: str) -> None:
    defaults = argparse.ArgumentParser()
    add_arguments(defaults)
    for name in names:
        if getattr(args, name) != defaults.get_default(name):
            raise InputError(
                f"--{name.replace('_', '-')} {getattr(args, name)}: an encoder names its own; does not go with {option}"
            )
