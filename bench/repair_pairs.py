"""Train the models that `bench/repair.py` repairs: narrow detectors of six families on rendered parts, and two of
them made hard for INT8 without changing what they compute.

    python bench/repair_pairs.py --out DIR

About four CPU minutes a model on one core. Pictures and weights depend on seeds alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

SEED = 23
PICTURES = {"train": 700, "val": 96}
EPOCHS = 14
SIZE = 192
OUTLIER = 64.0
"""By how much some channels are made larger, and the weights that read them smaller."""
FAMILIES = {
    "v8relu": ("v8/yolov8.yaml", [0.34, 0.125, 384]),
    "v5u": ("v5/yolov5.yaml", [0.34, 0.125, 384]),
    "v8": ("v8/yolov8.yaml", [0.34, 0.125, 384]),
    "v10": ("v10/yolov10n.yaml", [0.34, 0.125, 384]),
    "11": ("11/yolo11.yaml", [0.50, 0.125, 384]),
    "26": ("26/yolo26.yaml", [0.50, 0.125, 384]),
    "v9t": ("v9/yolov9t.yaml", [1.0, 0.5, 384]),
}
"""Name: architecture among those of Ultralytics; depth, width and most channels. YOLO12 cannot be made that narrow."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data and weights; what is there is kept")
    parser.add_argument("--only", nargs="+", choices=list(FAMILIES), help="some of the families")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_data(options.out / "parts")
    for name in options.only or FAMILIES:
        target = options.out / f"{name}.pt"
        if not target.exists():
            train(name, options.out / "parts/data.yaml", target)
        print(target, flush=True)
    for source, target, change in (
        ("v8relu.pt", "hard_relu.pt", relu_outliers),
        ("11.pt", "hard_attention.pt", attention_outliers),
    ):
        if (options.out / source).exists():
            make_hard(options.out / source, options.out / target, change)
            print(options.out / target, flush=True)
    return 0


def write_data(folder: Path) -> None:
    """Write pictures and labels, unless they are there."""
    from sample.pictures import data_yaml, write_pictures

    if (folder / "data.yaml").exists():
        return
    for split, count in PICTURES.items():
        write_pictures(folder, SEED, split, count, "segment")
    text = data_yaml("segment")
    (folder / "data.yaml").write_text(text)


def train(name: str, data: Path, target: Path) -> None:
    """Train one family from scratch and write its weights."""
    from sample.labels import NAMES
    from sample.training import COMMON, prepare, write_checkpoint

    with tempfile.TemporaryDirectory(prefix="repair_pairs_") as scratch:
        place = Path(scratch)
        prepare(place)
        from ultralytics import YOLO
        from ultralytics.utils import ROOT, YAML

        file, scale = FAMILIES[name]
        architecture = YAML.load(ROOT / "cfg/models" / file)
        architecture.update(nc=len(NAMES), scales={"p": scale})
        if name == "v8relu":
            architecture["activation"] = "torch.nn.ReLU()"
            os.environ["ULTRALYTICS_SAFE_LOAD"] = "false"  # an activation of a file of our own is evaluated
        YAML.save(place / "parts.yaml", architecture)
        model = YOLO(place / "parts.yaml", task="detect")
        given = {**COMMON, "batch": 16, "nbs": 16, "pretrained": False, "exist_ok": True}
        model.train(data=str(data), imgsz=SIZE, epochs=EPOCHS, project=str(place), **given)
        write_checkpoint(Path(model.trainer.last), target, "detect")


def make_hard(source: Path, target: Path, change) -> None:
    """Write the weights of a network that computes the same with outlier channels."""
    import torch

    checkpoint = torch.load(source, map_location="cpu", weights_only=False)
    model = checkpoint["model"].float().eval()
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        before = first(model(picture))
        change(model)
        after = first(model(picture))
    gap = float((before - after).abs().max())
    print(f"{target.name}: outputs moved by at most {gap:.2g}")
    checkpoint["model"] = model  # in float: half precision ends at 65504
    torch.save(checkpoint, target)


def first(output):
    return output[0] if isinstance(output, (tuple, list)) else output


def relu_outliers(model) -> None:
    """Two channels of each pair of convolutions with a ReLU between become `OUTLIER` times as large."""
    from ultralytics.nn.modules import Bottleneck, Detect

    for module in model.modules():
        if isinstance(module, Bottleneck):
            enlarge(module.cv1, 1)
            module.cv2.conv.weight.data[:, 1] /= OUTLIER
        if isinstance(module, Detect):
            for branch in (*module.cv2, *module.cv3):
                enlarge(branch[0], 2)
                branch[1].conv.weight.data[:, 2] /= OUTLIER
                enlarge(branch[1], 3)
                branch[2].weight.data[:, 3] /= OUTLIER


def attention_outliers(model) -> None:
    """Channels of values, queries and keys of each attention become `OUTLIER` times as large."""
    from ultralytics.nn.modules.block import Attention

    for module in model.modules():
        if not isinstance(module, Attention):
            continue
        keys, values = module.key_dim, module.head_dim
        for head in range(module.num_heads):
            start = head * (2 * keys + values)
            channel = start + 2 * keys
            enlarge(module.qkv, channel)
            out = head * values
            module.pe.bn.running_mean.data[out] *= OUTLIER
            module.pe.bn.bias.data[out] *= OUTLIER
            module.proj.conv.weight.data[:, out] /= OUTLIER
            enlarge(module.qkv, start)
            enlarge(module.qkv, start + keys, 1 / OUTLIER)


def enlarge(convolution, channel: int, factor: float = OUTLIER) -> None:
    """Multiply what one channel of a convolution with batch normalization puts out."""
    convolution.bn.weight.data[channel] *= factor
    convolution.bn.bias.data[channel] *= factor


if __name__ == "__main__":
    sys.exit(main())
