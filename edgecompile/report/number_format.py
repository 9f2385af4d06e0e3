"""How figures are written for people: one place for units and digits, shared by the page and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecompile.evaluate.drop_proof import spread
from edgecompile.evaluate.gates import GATES
from edgecompile.evaluate.layer_coverage import share
from edgecompile.runtime.figures import AtThreshold, Coverage, Figures, ScoreChange
from edgecompile.runtime.measurement import MeasurementDocument, memory_words
from edgecompile.runtime.quality import evidence_line, noise_line
from edgecompile.runtime.speedup import speedup_words
from edgecompile.runtime.stream_rate import StreamRateDocument

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
EXCLUSIVE = "a machine-wide lock held off every other measurement and every step of any build"
NOT_EXCLUSIVE = "steps of another user's builds may have run meanwhile: their locks could not be opened"


def score(value: float | None) -> str:
    """Returns a metric of accuracy: four digits, as gates compare it."""
    return NONE if value is None else f"{round(value, 4) + 0.0:.4f}"  # adding nothing makes -0.0 a plain 0.0


def signed(value: float | None) -> str:
    """Returns a difference of scores with its sign; a true minus, and no sign for what rounds to nothing."""
    if value is None:
        return NONE
    text = f"{value:+.4f}".replace("-", MINUS)
    return "0.0000" if text[1:] == "0.0000" else text


def change(figures: Figures, name: str) -> str:
    """Returns what became of a metric of the float model: its change, that of the main metric with its standard
    error."""
    text = signed(figures.metrics[name] - figures.reference[name])
    return f"{text} {spread(figures.drop_error)}" if name == figures.main and figures.drop_error else text


def drop(figures: Figures | None) -> str:
    """Returns the drop of the main metric with its standard error, where that is known."""
    if figures is None:
        return NONE
    return score(figures.lost) + (f" {spread(figures.drop_error)}" if figures.drop_error else "")


def score_lines(scores: ScoreChange | None) -> list[tuple[str, str, str]]:
    """Returns title, figure and remark of each line on scores: what a threshold shows, and how far scores moved."""
    if scores is None:
        return []
    lines = []
    before, after = scores["reference"], scores["artifact"]
    if before and after:
        title = f"conf {scores['threshold']:g}"
        lines.append((title, f"{after['found']} found", f"float {before['found']}; {_rates(before, after)}"))
    shift, largest = scores["median_shift"], scores["largest_shift"]
    spread_out = f", at most {score(largest)}" if largest is not None else ""
    lines.append(("score shift", signed(shift), f"median of {scores['matched']} matched{spread_out}"))
    return lines


def _rates(before: AtThreshold, after: AtThreshold) -> str:
    pairs = (("precision", before["precision"], after["precision"]), ("recall", before["recall"], after["recall"]))
    return ", ".join(f"{name} {score(old)} → {score(new)}" for name, old, new in pairs)


def milliseconds(value: float | None) -> str:
    """Returns a time in milliseconds with three significant digits or more."""
    if value is None:
        return NONE
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def seconds(value: float | None) -> str:
    """Returns a duration in seconds, or in minutes and seconds."""
    if value is None:
        return NONE
    return f"{int(value) // 60} min {int(value) % 60:02d} s" if value >= 100 else f"{value:.1f} s"


def megabytes(size: int | float | None) -> str:
    """Returns a size given in bytes as MB (10^6 bytes), or as kB where it is small."""
    if size is None:
        return NONE
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Returns a number with its unit."""
    return NONE if value is None else f"{value:,.{digits}f}{unit}"


def gate_title(name: str) -> str:
    """Returns what a gate is called beside its figure. A gate that this version does not know goes by its name."""
    return GATES[name].title if name in GATES else name.replace("_", " ")


def gate_figure(name: str, value: float | None) -> str:
    """Returns a gate's figure with the digits and the unit of its kind."""
    if value is None:
        return NONE
    gate = GATES.get(name)
    return (gate.show(value) if gate else f"{value:g}").replace("-", MINUS)


def gate_limit(name: str, limit: float) -> str:
    """Returns a gate's limit in words: "at most 0.01", "at least 30 FPS"."""
    gate = GATES.get(name)
    if gate and gate.forbids:
        return "must be no"
    side = "" if gate is None else "at least " if gate.floor else "at most "
    return f"{side}{limit:g}{gate.unit if gate else ''}"


def sharing_line(run: float, reused: float, saved_s: float) -> str:
    """Returns what the points of a sweep shared, in one line."""
    return f"{_count(int(run), 'step')} run, {int(reused)} reused: {seconds(saved_s)} saved by sharing"


def coverage_share(coverage: Coverage, precision: str) -> str:
    """Returns which share of the operations of layers with weights is in a precision."""
    return f"{100 * share(coverage, precision):.1f} %"


def coverage_layers(coverage: Coverage, precision: str) -> str:
    """Returns how many layers with weights are in a precision, and in which the others are: "86 of 88 layers with
    weights; 2 in fp16"."""
    counts = {name: part["layers"] for name, part in coverage["by_precision"].items()}
    rest = ", ".join(f"{count} in {name}" for name, count in counts.items() if name != precision)
    whole = f"{counts.get(precision, 0)} of {_count(coverage['layers'], 'layer')} with weights"
    return f"{whole}; {rest}" if rest else whole


def machine_line(measured: MeasurementDocument) -> str:
    """Returns the machine of a measurement in one line: processor, cores, threads, clock, system."""
    machine = measured.get("machine") or {}
    parts = [
        machine.get("cpu") or "an unnamed processor",
        _count(machine.get("cores"), "core"),
        _count(measured.get("threads"), "thread") + " used" if measured.get("threads") else "",
        f"{memory / 1000:.0f} GB" if (memory := machine.get("memory_mb")) else "",
        f"up to {machine['max_mhz']} MHz" if machine.get("max_mhz") else "",
        f"at {machine['mhz']} MHz" if machine.get("mhz") else "",
        f"governor {machine['governor']}" if machine.get("governor") else "",
        machine.get("system") or "",
    ]
    return ", ".join(part for part in parts if part)


def stream_line(stream: StreamRateDocument) -> str:
    """Returns what a stream gains over one picture after another, and how it runs."""
    threads = _count(stream["threads"], "thread")
    how = f"{stream['setting']} setting, {stream['requests']} in flight, {threads}"
    return f"{stream['gain'][1]:.2f} times one after another; {how}"


def exclusive_line(measured: MeasurementDocument) -> str:
    """Returns whether a measurement had the machine to itself: "" where that was not written down."""
    exclusive = measured.get("exclusive")
    return "" if exclusive is None else EXCLUSIVE if exclusive else NOT_EXCLUSIVE


def evidence(measured: MeasurementDocument) -> str:
    """Returns what was checked of a measurement: "" where nothing was, as by older versions."""
    quality = measured.get("quality")
    return evidence_line(quality) if quality else ""


def speedup(measured: MeasurementDocument | None) -> str:
    """Returns how many times as fast as float an artifact is, with its interval: "" where that was not measured."""
    found = (measured or {}).get("speedup")
    return speedup_words(found) if found else ""


def memory_remark(measured: MeasurementDocument) -> str:
    """Returns what is known of a peak of memory beside its size: its share of the device's, and what takes it."""
    share, of = measured.get("peak_memory_percent"), measured.get("device_memory_mb")
    parts, taken = measured.get("memory_parts_mb"), measured.get("accelerator_memory_mb")
    known = [f"{share:.1f} % of {of} MB"] if share is not None else []
    known += [f"with {taken:.0f} MB on the accelerator ({measured['accelerator_memory_meter']})"] if taken else []
    return "; ".join([*known, *([memory_words(parts)] if parts else [])])


def efficiency(measured: MeasurementDocument) -> str:
    """Returns frames a second for each watt, and the energy of a picture: "4.18 FPS/W, 0.239 J a picture"."""
    energy = measured.get("energy_per_picture_j")  # reports of older versions lack it
    watt = number(measured.get("fps_per_watt"), 2, " FPS/W")
    return f"{watt}, {energy:.3g} J a picture" if energy else watt


def noise(measured: MeasurementDocument | None) -> str:
    """Returns what speaks against the figures of time of a measurement: "" where nothing does."""
    return noise_line((measured or {}).get("quality"))


def unjudged(gate: Mapping[str, Any]) -> str:
    """Returns why a gate is not judged here: "" where it is."""
    if gate["met"] is not None:
        return ""
    known = GATES.get(gate["gate"])
    return (
        "not judged: noisy" if gate.get("noisy") else "by diagnose" if known and known.soak else "where it is measured"
    )


def _count(value: int | None, noun: str) -> str:
    return "" if value is None else f"{value} {noun}{'' if value == 1 else 's'}"
