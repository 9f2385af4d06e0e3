"""Targets: one device runtime a file. The file name is the registry; third parties add theirs by an entry point.

A target is its config, as a pass is: a frozen pydantic model, filled from `conf/target/<device>_<runtime>.yaml`, whose
`kind` names the file here. Whatever differs between devices is an attribute of it or stands in its methods; nobody
outside this folder asks which target it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from edgecompile.plan.graph import Graph, Model
from edgecompile.runtime.options import MOST_THREADS, Options

if TYPE_CHECKING:
    from edgecompile.quantization.qdq import Placement

ENTRY_POINTS = "edgecompile.targets"


class Board(BaseModel):
    """What people otherwise look up of a device. Nothing here changes what is built; `source` says where it was read.

    Fields:
        soc: processor or accelerator, with its architecture ("Ampere, SM 8.7").
        images: operating system image to the version of the runtime that it brings, such as {"JetPack 6.2": "10.3"}.
        power_mode: command that prints the power mode or the clocks, recorded with each measurement there.
        power: where power is read: "INA3221 <path>", "RAPL <path>", a command, or "none".
        temperature: the same of the temperature.
        source: where all this was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    soc: str = ""
    images: dict[str, str] = {}
    power_mode: str = ""
    power: str = ""
    temperature: str = ""
    source: str = ""


class ProxyBackend(NamedTuple):
    """A backend that stands for that of a device: its name, its distribution, and what it is opened with."""

    backend: str
    distribution: str
    options: Options


class Target(BaseModel, ABC):
    """Base of every target.

    Fields (each settable in conf/target/*.yaml):
        device: what a person calls it, such as "Raspberry Pi 5".
        arch: machine architecture of the device, "x86_64" or "aarch64".
        isa: instruction-set features the device has that matter for speed ("avx512_vnni", "asimddp", ...).
        memory_mb: memory of the device.
        threads: threads the runtime uses there.
        precisions: those the device runs.
        status: how far this was proven: "built here", "built on device", "simulated" by the vendor's own simulator,
            "emulated", "estimated" by the vendor's own tool, or "untested".
        proof: the command, in a clone of the repository, that shows the status; for an untested target, the command
            that shows how far it was prepared and checked.
        source: where the device figures come from.
        board: what people otherwise look up.

    Proof, source and board are for people: they are no part of what is built and stand in no lock. The status stands in
    a bundle and in its lock, and another status breaks no lock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    kind: str
    device: str
    arch: Literal["x86_64", "aarch64"] = "x86_64"
    isa: tuple[str, ...] = ()
    memory_mb: int = Field(gt=0)
    threads: int = Field(default=2, ge=1, le=MOST_THREADS)
    precisions: tuple[Literal["fp32", "fp16", "bf16", "int8"], ...]
    status: Literal["built here", "built on device", "simulated", "emulated", "estimated", "untested"] = "untested"
    proof: str = Field(default="", exclude=True)
    source: str = Field(default="", exclude=True)
    board: Board = Field(default=Board(), exclude=True)

    backend: ClassVar[str]
    """File of `edgecompile/runtime/backends/` that runs the artifact."""
    runtime: ClassVar[tuple[str, str]]
    """Distribution that the device needs, and its version range, such as ("onnxruntime", ">=1.19,<2")."""
    system_runtime: ClassVar[bool] = False
    """Whether the device's own system brings that distribution, as a vendor's image does, and no package index: it is
    then looked for there and never installed."""
    opens_onnx: ClassVar[bool] = False
    """Whether its backend opens an ONNX graph as it is: the float model then takes turns with the artifact on the same
    backend, else on ONNX Runtime."""
    fp16_in_graph: ClassVar[bool] = True
    """Whether FP16 is written into the ONNX graph; otherwise the target's own format stores the weights in FP16."""
    keeps_float: ClassVar[bool] = True
    """Whether the device computes in float what an FP16 graph leaves in float, such as layers whose numbers FP16 does
    not hold. Where FP16 is not written into the graph, no layer can be left out."""
    fp16_fix: ClassVar[str] = "build in fp32"
    """What helps where a model's numbers do not fit into FP16."""
    finalize: ClassVar[bool] = False
    """Whether the model is built on the device, by `edgecompile finalize`: the bundle then carries what it is built
    from, and nobody may predict with it before it was built and verified there."""
    dynamic: ClassVar[frozenset[str]] = frozenset()
    """Axes that may change from run to run, as `model.dynamic` of a recipe asks: "batch", "imgsz". Others stay
    fixed, and `plan` says so."""
    dynamic_int8: ClassVar[bool] = False
    """Whether the runtime computes matrix products of float activations, quantized as it runs, and int8 weights."""
    why_no_pairs: ClassVar[str] = ""
    """Why it takes no imported model that holds Q/DQ pairs; "" where it does."""
    signed_pairs: ClassVar[bool] = False
    """Whether such pairs must be of int8 around 0."""
    int8_gain: ClassVar[float] = 1.5
    """How many times as fast a detector is in INT8 as in what else the runtime computes it in: by it the cost of a part
    in float is estimated. The value of the base is a guess."""
    embeds: ClassVar[frozenset[str]] = frozenset()
    """Outputs whose post-processing can be built into its artifact (the pass `embed_postprocess`): "yolo", which needs
    non-maximum suppression, "rotated", the same of rotated boxes, "end2end", which needs the choice of rows."""
    why_not_embedded: ClassVar[str] = "nobody has shown that its runtime has the operators"
    """Why an output is missing among these."""
    embeds_inputs: ClassVar[bool] = False
    """Whether the thresholds of that may be inputs of the artifact, beside the picture."""
    embedding_remark: ClassVar[str] = ""
    """What a person should know where the suppression is built in."""

    def options(self) -> Options:
        """Returns plain-JSON options that the backend is opened with on the device: of those that it declares."""
        return {}

    def options_for(self, precision: str) -> Options:
        """Returns the options that an artifact of a precision is opened with; those of `options` where it makes no
        difference."""
        return self.options()

    def constraints(self) -> dict[str, str | list[str]]:
        """Returns what must be true of the device, checked by `edgecompile finalize`: a fact that the backend's
        `device()` states to a version range (">=10.3,<11") or to a list of allowed values."""
        return {}

    def proxy_backend(self) -> ProxyBackend | None:
        """Returns the backend that runs the artifact where the device cannot be: it gives its accuracy and its golden
        vectors. None where the device's own backend runs on the machine that builds."""
        return None

    def computes_fp16(self, precision: str) -> bool:
        """Whether the device computes activations of a model of that precision in FP16, which ends at 65504."""
        return precision == "fp16" and self.fp16_in_graph

    @property
    def float_beside_int8(self) -> str:
        """What the device computes in that an INT8 model leaves in float: "fp32", "fp16" or "bf16"."""
        return "fp16" if self.computes_fp16("int8") else "fp32"

    @property
    def rounds_to_bf16(self) -> bool:
        """Whether the kernels of the device round to bfloat16 where those of another machine may compute in float: the
        accuracy of an artifact in it is then judged by a graph that rounds too."""
        return False

    @abstractmethod
    def quantize(self, graph: Graph, model: Model, settings: Any) -> Model:
        """Adds the calibration and quantization steps that suit this runtime. `settings` is an `Int8Static`."""

    def simulated_placement(self, settings: Any) -> Placement | None:
        """Returns the Q/DQ profile by which INT8 of this runtime is simulated, while parts of a network are ranked: its
        own, or one near to what the runtime's own quantizer does. None where nobody has stated one: then nothing is
        ranked, and INT8 that misses its gate is not repaired. `settings` is an `Int8Static`."""
        return None

    def compile(self, graph: Graph, model: Model) -> Model:
        """Adds the steps that turn the optimized model into the artifact that ships; may return it unchanged."""
        return model

    def finish(self, graph: Graph, model: Model) -> Model:
        """Adds the steps that make of the compiled model what depends on all of it, such as an engine; may return it
        unchanged. Passes on the artifact stand between `compile` and this."""
        return model

    def warnings(self, precision: str) -> list[str]:
        """Returns remarks on a precision that will not help on this instruction set."""
        return []
