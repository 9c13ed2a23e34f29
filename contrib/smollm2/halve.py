"""Make the demo model's bfloat16 copy, which `make demo` trains on a GPU: there, models are stored in half precision.

python contrib/smollm2/halve.py [--model FOLDER] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from prefd.daemon.machine import blas

blas.preload()  # before mlx

import mlx.core as mx

MODEL = Path(__file__).resolve().parents[2] / ".models" / "SmolLM2-135M-Instruct"
DTYPE = "bfloat16"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="the float32 model (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="its copy (default: the model's folder with -bf16 behind its name)")
    options = parser.parse_args()
    model = options.model.resolve()
    if not (model / "config.json").exists():
        sys.exit(f"error: there is no model at {model}: run `make model`")
    halve(model, options.out or model.with_name(f"{model.name}-bf16"))


def halve(model: Path, out: Path) -> bool:
    """Make the folder `out`; False when it is there already. Written beside and renamed, so it is whole or absent."""
    if out.exists():
        print(f"{out} is already built")
        return False
    with tempfile.TemporaryDirectory(prefix=".building-", dir=out.parent) as scratch:
        folder = Path(scratch) / out.name
        shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors", ".*"))
        tensors = mx.load(str(model / "model.safetensors"))
        assert isinstance(tensors, dict)  # what a safetensors file gives
        halved = {name: tensor.astype(mx.bfloat16) for name, tensor in tensors.items()}
        mx.save_safetensors(str(folder / "model.safetensors"), halved, metadata={"format": "mlx"})
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {"torch_dtype": DTYPE}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        folder.rename(out)
    print(f"built {out}")
    return True


if __name__ == "__main__":
    main()
