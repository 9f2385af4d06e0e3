"""Make the embedded sample: pictures of small parts on a tray, and a small model trained on them for each task.

Every picture is drawn here with OpenCV from a seed: bolts, nuts and washers, shaded as metal height fields under one
light, lying partly over each other among things that are none of the three, on varied surfaces, seen through a sensor
with blur and noise. The labels come from where the parts lie and from the pixels each part still owns once the picture
is finished. A narrow YOLO11 is then trained on the training pictures of each task, of detection, classification and
segmentation from scratch, and its weights are written without anything of this machine.

    python tools/make_sample.py --out edgecompile/sample                  # all five tasks
    python tools/make_sample.py --out edgecompile/sample --task segment   # one of them
    python tools/make_sample.py --out edgecompile/sample --measure        # the figures of what lies there
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from sample.pictures import TASKS, data_yaml, write_crops, write_pictures
from sample.training import SUFFIX, measure, prepare, train, write_checkpoint

# How many pictures of each split; of crops, how many of each class.
PACKAGED = {"train": 64, "val": 64}
PACKAGED_OF = {
    "detect": {"train": 96, "val": 64, "test": 32},
    "classify": {"train": 11, "val": 70},
}
# Rendered for training, of which those above are kept, and how often they are seen.
# Turned boxes and key points begin with what segmentation has learned: the order matters.
TRAINED_ON = {"detect": (2000, 24), "classify": (2000, 16), "segment": (1200, 16), "obb": (1200, 5), "pose": (1200, 5)}


def write(folder, task, seed, split, count):
    """Write the first pictures of a split and what belongs to them."""
    if task == "classify":
        write_crops(folder, seed, split, count)
    else:
        write_pictures(folder, seed, split, count, task)
        (folder / "data.yaml").write_text(data_yaml(task))


def make(out, task, seed, rendered, epochs):
    """Write pictures, labels and checkpoint of a task."""
    with tempfile.TemporaryDirectory(prefix="make_sample_") as scratch:
        scratch = Path(scratch)
        for split, kept in PACKAGED_OF.get(task, PACKAGED).items():
            write(folder_of(out, task), task, seed, split, kept)
            write(scratch, task, seed, split, rendered if split == "train" else kept)
        first = weights_of(out, "segment") if task in ("obb", "pose") else None
        write_checkpoint(train(scratch, task, epochs, first), weights_of(out, task), task)


def print_figures(out, task):
    """Print the figures of a task. It happens in a copy: Ultralytics writes a cache beside the labels."""
    with tempfile.TemporaryDirectory(prefix="make_sample_") as scratch:
        prepare(Path(scratch))
        folder = shutil.copytree(folder_of(out, task), Path(scratch, "data"))
        data = folder if task == "classify" else folder / "data.yaml"
        print(task, measure(weights_of(out, task), data, task))


def folder_of(out, task):
    return out if task == "detect" else out / task


def weights_of(out, task):
    return out / f"parts{SUFFIX[task]}.pt"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("edgecompile/sample"), help="where the sample is written")
    parser.add_argument("--task", choices=TASKS, action="append", help="make this one only; may be repeated")
    parser.add_argument("--seed", type=int, default=11, help="decides every picture")
    parser.add_argument("--epochs", type=int, help="how often each training picture is seen")
    parser.add_argument("--train-pictures", type=int, help="rendered for training; a part of them is kept")
    parser.add_argument("--measure", action="store_true", help="only measure what lies there")
    options = parser.parse_args()
    for task in options.task or TASKS:
        if not options.measure:
            rendered, epochs = TRAINED_ON[task]
            make(options.out, task, options.seed, options.train_pictures or rendered, options.epochs or epochs)
        print_figures(options.out, task)


if __name__ == "__main__":
    main()
