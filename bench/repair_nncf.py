"""The repair of INT8 beside NNCF's `quantize_with_accuracy_control`: accuracy, speed of the artifact, and time.

    python bench/repair_pairs.py --out PAIRS
    python bench/repair_nncf.py PAIRS/v5u.pt PAIRS/parts/data.yaml --imgsz 192 --split val --gate 0.002

Both work on the graph that edgecompile exports, on the same calibration and validation pictures, with the same limit on
the drop of mAP50-95; both artifacts are judged by `edgecompile.evaluate` and timed in turns. Exit code 1 where the
repaired bundle loses more, is slower by more than the noise, or took more than a fifth of NNCF's time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import harness

RECIPE = "x86-cpu_openvino_int8"
ROUNDS = 12
NOISE = 1.05
TIMES = 5.0


def main() -> int:
    parser = harness.arguments(__doc__)
    parser.add_argument("--gate", type=float, default=0.005, help="largest drop of mAP50-95 (default 0.005)")
    options = parser.parse_args()
    figures: dict[str, object] = {"machine": harness.announce(), "gate": options.gate}
    work = harness.workplace(options.work)
    gate = (f"gates.accuracy_drop={options.gate}", "evaluate.latency_images=10")
    warm = harness.build(RECIPE, options, work, *gate, "passes.int8_static=null")  # the export, which both need
    harness.built(warm)
    began = time.perf_counter()
    done = harness.build(RECIPE, options, work, *gate)
    ours_s = time.perf_counter() - began
    bundle = harness.built(done)
    found = harness.manifest(bundle)["figures"]
    report = json.loads((bundle.parent / "report.json").read_text())
    ours_drop = found["map_drop"]
    print(
        f"edgecompile: drop {ours_drop:.4f} in {ours_s:.0f} s; repair: {(report['repair'] or {}).get('line', 'none')}"
    )
    folder = work / "nncf"
    folder.mkdir(exist_ok=True)
    theirs_s = accuracy_control(source_of(report, work / "cache"), options, folder)
    theirs = judged(folder, options)
    theirs_drop = found["reference"]["map50_95"] - theirs
    print(f"NNCF:        drop {theirs_drop:.4f} in {theirs_s:.0f} s")
    unpacked = harness.unpack(bundle, work / "ours")
    pair = [
        harness.Candidate.start(name, "openvino", path, 2)
        for name, path in (("edgecompile", unpacked), ("NNCF", folder / "model.xml"))
    ]
    harness.round_robin(pair, ROUNDS)
    times = harness.ratio(*pair)
    for candidate in pair:
        candidate.end()
    figures |= {"ours": [ours_drop, ours_s], "nncf": [theirs_drop, theirs_s], "time_ratio": times}
    return harness.conclude(
        options,
        figures,
        [
            harness.verdict("drop, edgecompile - NNCF", ours_drop - theirs_drop, 0.0005),
            harness.verdict("time of the artifact, edgecompile / NNCF", times, NOISE),
            harness.verdict("seconds, NNCF / edgecompile", theirs_s / ours_s, TIMES, least=True, digits=1),
        ],
    )


def source_of(report: dict, cache: Path) -> tuple[Path, Path]:
    """Returns the float ONNX that was quantized, and its spec.json, in the store."""
    outputs = {step["name"]: step["output"] for step in report["steps"]}
    folders = (cache / "outputs" / outputs[name][:2] / outputs[name] for name in ("equalize", "onnx_export"))
    model, spec = folders
    return model / "model.onnx", spec / "spec.json"


def pictures(options, split: str) -> list[Path]:
    """Returns the pictures of a split, as the recipe takes them: the first 300 of those to calibrate with."""
    folder = options.data.resolve().parent / "images" / split
    return sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))[:300]


def accuracy_control(source: tuple[Path, Path], options, folder: Path) -> float:
    """Lets NNCF quantize with accuracy control; writes the IR that takes prepared pictures, returns the seconds."""
    import nncf
    import openvino

    from edgecompile.graphs.openvino.conversion import from_onnx
    from edgecompile.graphs.openvino.ir_structure import decode
    from edgecompile.quantization.calibration_batches import input_reader

    model, spec = source
    read = input_reader(spec)
    graph = from_onnx(model)
    calibration = nncf.Dataset(pictures(options, "train"), lambda path: read(path).copy())
    validation = nncf.Dataset(pictures(options, options.split), lambda path: path)

    def validate(compiled, items) -> float:
        return accuracy(lambda tensor: list(compiled(tensor).values()), spec, list(items), options)

    began = time.perf_counter()
    quantized = nncf.quantize_with_accuracy_control(
        graph,
        calibration_dataset=calibration,
        validation_dataset=validation,
        validation_fn=validate,
        max_drop=options.gate,
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=sorted(decode(graph))),
    )
    took = time.perf_counter() - began
    openvino.save_model(quantized, folder / "model.xml", compress_to_fp16=False)
    (folder / "spec.json").write_bytes(spec.read_bytes())
    return took


def judged(folder: Path, options) -> float:
    """Returns mAP50-95 of NNCF's artifact."""
    import openvino

    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    paths = pictures(options, options.split)
    return accuracy(lambda tensor: list(compiled(tensor).values()), folder / "spec.json", paths, options)


def accuracy(infer, spec: Path, paths: list[Path], options) -> float:
    """Returns mAP50-95 of what `infer` makes of prepared pictures, by the code that judges every bundle."""
    from edgecompile.data.label_reading import reading_from
    from edgecompile.data.layouts import find_layout
    from edgecompile.evaluate.tasks import find_task
    from edgecompile.runtime.letterbox import Preprocessor
    from edgecompile.runtime.pictures import read_picture
    from edgecompile.runtime.spec import read_spec

    opened = read_spec(spec)
    task = find_task(opened.document["task"])
    how = reading_from({})
    labels = [Path(str(path.parent).replace("/images/", "/labels/")) / f"{path.stem}.txt" for path in paths]
    truth = [
        task.read_labels(one, how.facts) for one in find_layout(how.layout).read_lines(labels, how, task.label_form)
    ]
    given = task.options({"conf": 0.001, "iou": 0.7, "max_det": 300}, truth)
    preprocessor = Preprocessor(opened, 1)
    matched = []
    for path, labelled in zip(paths, truth, strict=True):
        image = read_picture(path, opened.input.channels)
        geometry = preprocessor.place(0, image)
        result = opened.task.decode(infer(preprocessor.tensor), geometry, 0, given)
        matched.append(task.judge(result, labelled, image.shape[:2]))
    return task.accuracy(matched, truth, opened.names).metrics["map50_95"]


if __name__ == "__main__":
    sys.exit(main())
