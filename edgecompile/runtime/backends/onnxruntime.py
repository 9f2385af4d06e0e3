"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from edgecompile.errors import BundleError
from edgecompile.runtime.backends import Setting, _onnxruntime_layers, last_line, missing, picture_input, read_onnx
from edgecompile.runtime.backends._threaded import ThreadedRequest, threaded_requests
from edgecompile.runtime.knobs import Knob, Site, of_option, thread_counts
from edgecompile.runtime.layer_timings import Feed, LayerTimings, Rounds
from edgecompile.runtime.onnx_nodes import read_nodes
from edgecompile.runtime.options import Choice, Option, Options, Switch
from edgecompile.runtime.spec_document import SpecDocument

if TYPE_CHECKING:
    import numpy as np

PATTERN, LEVEL, SPINNING = "enable_mem_pattern", "graph_optimization_level", "session.intra_op.allow_spinning"
DENORMALS = "session.set_denormal_as_zero"
DYNAMIC_BLOCK = "session.dynamic_block_base"
"""Option by which the work of an operator is dealt out in ever smaller blocks: threads wait less for the slowest."""
DEFAULTS: Options = {
    # Planning memory by pattern costs 8 MB for YOLO11n at 320 pixels and gains nothing measurable.
    PATTERN: False,
    # An x86 CPU without VNNI would overflow where INT8 weights take all 8 bits; this changes nothing on a CPU with it.
    "session.x64quantprecision": "1",
}
ERRORS_ONLY = 3
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Environment variable that keeps ONNX Runtime (1.32) from sending telemetry. A thread that begins with the import
sends it, and a forked process waits for that thread for ever when it exits."""


ZERO_OR_ONE = Choice(("0", "1"))
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


class Backend:
    """One session. Options are attributes of `SessionOptions` (enumerations by the name of their member) or, where they
    are none, its config entries. Those that name files (`optimized_model_filepath`, `profile_file_prefix`, external
    initializers), libraries or numbers of threads are not among them.

    Its threads spin while they wait. On a device of its own that is quicker by a quarter; on a device that is shared
    with other work it halves the speed, and `session.intra_op.allow_spinning: "0"` turns it off.
    """

    options: ClassVar[Mapping[str, Option]] = {
        "enable_cpu_mem_arena": Switch(),
        PATTERN: Switch(),
        LEVEL: Choice(LEVELS),
        "optimization.enable_gelu_approximation": ZERO_OR_ONE,
        "session.disable_quant_qdq": ZERO_OR_ONE,
        DYNAMIC_BLOCK: Choice(tuple(map(str, range(17)))),
        SPINNING: ZERO_OR_ONE,
        DENORMALS: ZERO_OR_ONE,
        "session.x64quantprecision": ZERO_OR_ONE,
    }
    distributions: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    stand_in_options: ClassVar[Options] = {"session.disable_quant_qdq": "1"}
    """What it is opened with where it stands in for a device: it then computes a graph as that is written, for its
    fusions of Q/DQ pairs know no scales in FP16."""

    def __init__(
        self, artifact: Path | Mapping[str, bytes], spec: SpecDocument, threads: int, options: Options
    ) -> None:
        try:
            onnxruntime = self.import_library()
        except ImportError as error:
            raise missing("onnxruntime", "onnxruntime", error) from error
        from edgecompile.runtime.backends._onnxruntime_binding import Binding, bindable  # with NumPy

        self.version: str = onnxruntime.__version__
        model = read_onnx(artifact)
        try:
            session_options = _session_options(onnxruntime, threads, {**DEFAULTS, **options})
            self._session = onnxruntime.InferenceSession(model, session_options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            raise BundleError(f"onnxruntime {self.version} cannot open the model: {last_line(error)}") from error
        names = [output.name for output in self._session.get_outputs()]
        self.outputs = tuple(frozenset([name]) for name in names)
        self._names = names
        inputs = [entry.name for entry in self._session.get_inputs()]
        self._input = inputs[picture_input(inputs, spec)]
        self._given: dict[str, np.ndarray] = {}
        self._binding = Binding(self._session, self._input) if bindable(self._session) else None

    @staticmethod
    def import_library() -> ModuleType:
        """Imports ONNX Runtime, which then sends nothing anywhere."""
        os.environ.setdefault(NO_TELEMETRY, "1")
        return import_module("onnxruntime")

    @property
    def bound_bytes(self) -> int:
        """Bytes of the outputs that a run fills again instead of making them anew."""
        return sum(output.nbytes for output in self._binding.outputs) if self._binding else 0

    def give(self, values: Mapping[str, np.ndarray]) -> None:
        self._given = dict(values)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        if self._binding:
            return self._binding.run(tensor, self._given)
        return self._run(tensor, self._given)

    def requests(self, at_once: int | None = None) -> list[ThreadedRequest]:
        """Returns requests on the one session, which all may run at a time."""
        return threaded_requests(self._run, at_once or 1)

    @staticmethod
    def for_many(options: Options, threads: int) -> Setting | None:
        """Returns a session whose inferences take one thread each, as many at a time as there are threads: they wait
        for nobody, where the threads of one inference wait for each other at every layer."""
        return Setting(1, options, threads) if threads > 1 else None

    @staticmethod
    def knobs(setting: Setting, site: Site) -> list[Knob]:
        """Returns what ONNX Runtime leaves open. Its highest level of optimization is the one that lays convolutions of
        floats out in blocks of channels; the one below it leaves layouts alone."""
        levels = {"all": LEVELS[3], "no layouts": LEVELS[2], "basic": LEVELS[1]}
        return [
            thread_counts(site),
            of_option("graph", LEVEL, levels, setting, LEVELS[3]),
            of_option("spinning", SPINNING, {"on": "1", "off": "0"}, setting, "1"),
            of_option("blocks", DYNAMIC_BLOCK, {"shrinking": "4", "equal": "0"}, setting, "0"),
            of_option("memory pattern", PATTERN, {"on": True, "off": False}, setting, False),
            of_option("tiny numbers", DENORMALS, {"zero": "1", "kept": "0"}, setting, "0"),
        ]

    def _run(self, tensor: np.ndarray, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return self._session.run(self._names, {**given, self._input: tensor})

    @classmethod
    def time_layers(
        cls,
        artifact: Path | Mapping[str, bytes],
        spec: SpecDocument,
        threads: int,
        options: Options,
        feed: Feed,
        rounds: Rounds,
    ) -> LayerTimings:
        """Times each layer by ONNX Runtime's profiler; see `edgecompile.runtime.backends.TimesLayers`."""
        with tempfile.TemporaryDirectory(prefix="edgecompile-") as folder:
            profiling: Options = {"enable_profiling": True, "profile_file_prefix": str(Path(folder) / "layers")}
            opened = cls(artifact, spec, threads, {**options, **profiling})
            for _ in range(rounds.total):
                feed.before()
                feed.run(opened)
            events = json.loads(Path(opened._session.end_profiling()).read_bytes())
        return _onnxruntime_layers.read_trace(events, read_nodes(read_onnx(artifact)), rounds.warmup)


def _session_options(onnxruntime: Any, threads: int, settings: Options) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    for key, value in settings.items():
        if not hasattr(options, key):
            options.add_session_config_entry(key, value)
            continue
        members = getattr(type(getattr(options, key)), "__members__", {})
        setattr(options, key, members[value] if members else value)
    return options
