"""`load` opens a bundle; the `Predictor` it returns predicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from edgecompile.errors import BundleError, EdgecompileError, InputError
from edgecompile.runtime import tuning
from edgecompile.runtime.archive import Archive
from edgecompile.runtime.backends import Backend, Setting, last_line, open_backend
from edgecompile.runtime.chosen_size import chosen_size
from edgecompile.runtime.confinement import RUNNING, doing
from edgecompile.runtime.finished import artifact_of
from edgecompile.runtime.fork import FIX, own, require_owner
from edgecompile.runtime.geometry import Geometry
from edgecompile.runtime.letterbox import Preprocessor
from edgecompile.runtime.options import Options, thread_count
from edgecompile.runtime.sources import Picture, as_picture, may_never_end, pictures_of
from edgecompile.runtime.spec import Spec, read_spec
from edgecompile.runtime.spec_document import SpecDocument
from edgecompile.runtime.stream import Stream, timings
from edgecompile.runtime.stream_lanes import Opening, StreamLanes
from edgecompile.runtime.target import read_target, stand_in_of
from edgecompile.runtime.tasks import Given, OutputError
from edgecompile.runtime.tasks._shown import Origin, Shown
from edgecompile.runtime.tuning import Tuning
from edgecompile.text import escape

Pictures = Picture | Iterable[Picture]
KEPT_BUFFERS = 4
"""How many shapes keep their buffers: the last used."""


def load(bundle: str | Path, *, threads: int | None = None, stand_in: bool = False) -> Predictor:
    """Opens a bundle, after verifying it, and compiles its model for this machine.

    Args:
        bundle: path of a `.bundle.zip`.
        threads: that the backend may use; the target's, but no more than there are cores, where None.
        stand_in: whether a bundle for a device that is not here is run by the runtime that judged it when it was built.
            What it finds is about what the device will find; how long it takes says nothing.

    Raises:
        InputError: there is no such file, or nothing stands in for the device of this bundle.
        BundleError: it is damaged, altered, or cannot be opened here.
            A model that is built on its device must have been: `edgecompile finalize`.
        MissingToolError: its backend is not installed.
    """
    with Archive(Path(bundle)) as archive:
        return open_bundle(archive, threads=threads, stand_in=stand_in)


def open_bundle(
    archive: Archive,
    *,
    threads: int | None = None,
    engine: Path | None = None,
    setting: Setting | None = None,
    stand_in: bool = False,
) -> Predictor:
    """Returns the predictor of a bundle that is open already; as `load`.

    Args:
        engine: folder of a built model that is not accepted yet, instead of the accepted model.
        setting: in which it is opened, whatever was chosen for it on this device.
        stand_in: as for `load`.
    """
    target = stand_in_of(archive) if stand_in else read_target(archive)
    asked = thread_count(threads)
    if setting or stand_in:
        chosen = tuning.Opened(setting or tuning.own_setting(target, asked))
    else:
        chosen = tuning.find_setting(archive, target, asked)
    threads, options = chosen.setting.threads, chosen.setting.options
    try:
        spec = read_spec(archive.read_json("spec.json"))
        artifact = engine if engine and target.finalize else artifact_of(archive, target)
        opened = open_backend(target.name, artifact, spec.document, threads, options)
        path, digest = archive.path, archive.digest

        def open_again(setting: Setting) -> Backend:
            with Archive(path) as again:
                if again.digest != digest:
                    raise BundleError("is another bundle than the one that was loaded", where=str(path))
                artifact = engine if engine and target.finalize else artifact_of(again, target)
                return open_backend(target.name, artifact, spec.document, setting.threads, setting.options)

        opening = Opening(threads, options, open_again)
        words = f"stand-in {target.name} {opened.version}, not {target.device}" if stand_in else ""
        predictor = Predictor(
            opened, spec, manifest=archive.manifest, digest=digest, path=path, opening=opening, stand_in=words
        )
        predictor.tuning, predictor.tuning_ignored = chosen.tuning, chosen.ignored
        return predictor
    except BundleError as error:
        raise error.located(archive.path) from error


def open_artifact(
    artifact: str | Path, spec: SpecDocument | str | Path, backend: str, options: Options, threads: int
) -> Predictor:
    """Returns the predictor of an artifact that is in no bundle (yet).

    Args:
        artifact: the file (`model.onnx`) or the folder (of `model.xml` and `model.bin`).
        spec: the document of its `spec.json`, or the path of it.
        backend: file of `edgecompile/runtime/backends/`.
        options: of those that the backend declares.
        threads: that the backend may use.

    Raises:
        BundleError: the spec or the artifact cannot be opened, or the backend does not take the options.
        MissingToolError: the backend is not installed.
    """
    artifact = Path(artifact)
    if not artifact.exists():
        raise BundleError("there is no such artifact", where=str(artifact))
    known = read_spec(spec if isinstance(spec, Mapping) else Path(spec))

    def open_in(setting: Setting) -> Backend:
        return open_backend(backend, artifact, known.document, setting.threads, setting.options)

    opened = open_in(Setting(threads, options))
    return Predictor(opened, known, path=artifact, opening=Opening(threads, options, open_in))


class Predictor:
    """A model that is ready to predict. Calls from several threads take turns: buffers are shared between calls.

    It belongs to the process that loaded it: in a fork of that, whatever would run the model raises a InputError. An
    exception in the middle of a call, also that of an interrupt, leaves it usable.

    Attributes:
        names: names of the classes.
        outputs_read: which of the model's outputs the task reads, in its order.
        task: how outputs become results; `task.draw(image, result)` draws a result.
        spec: the document of `spec.json`; `layout` is its typed form.
        manifest: the manifest of the bundle; None where there is none.
        digest: sha256 of the bundle's file; None where there is none.
        backend: the backend that runs the model; `backend.version` is the version of its library.
        stand_in: what runs the model instead of its device, in words; "" where nothing does.
        timings: milliseconds of the last prediction, by part: read (a picture from its file), preprocess, inference,
            postprocess. Of a stack of pictures, those of the whole stack.
        tuning: how `edgecompile tune` has it opened on this device; None where the bundle's own setting stands.
        tuning_ignored: why a choice that is kept here for the bundle is not used; "" where there is none.
    """

    def __init__(
        self,
        backend: Backend,
        spec: Spec,
        *,
        manifest: dict[str, Any] | None = None,
        digest: str | None = None,
        path: Path | None = None,
        opening: Opening | None = None,
        stand_in: str = "",
    ) -> None:
        self.backend = backend
        self._lanes = StreamLanes(opening)
        self.stand_in = stand_in
        self.names = spec.names
        self.spec = spec.document
        self.manifest = manifest
        self.digest = digest
        self.timings: dict[str, float] = {}
        self.tuning: Tuning | None = None
        self.tuning_ignored = ""
        self.layout = spec
        self._spec = spec
        self.task = spec.task
        self.outputs_read = _output_places(backend, spec)
        self._preprocessors: dict[tuple[int, tuple[int, int]], Preprocessor] = {}
        self._path = path
        self._process = own(self)
        self._turn = threading.Lock()
        if self.task.parameters({}) and not hasattr(backend, "give"):
            raise BundleError("the model takes parameters beside the picture, which its backend does not give it")

    @property
    def name(self) -> str:
        """Name of the file or folder that was loaded; "" where there is none."""
        return self._path.name if self._path else ""

    def __reduce__(self) -> NoReturn:
        raise InputError("a loaded model cannot be sent to another process or copied", fix=FIX)

    def predict(self, image: Picture, *, imgsz: int | Sequence[int] | None = None, **settings: Any) -> Any:
        """Returns what the model finds on one picture: the result of its task, such as `Detections`.

        Args:
            image: path of a picture, the bytes of a picture's file, or uint8 (height, width, 3) in the order blue green
                red, as OpenCV has it. Gray, 4 channels, 16 bits and PIL images are read as Ultralytics reads them.
            imgsz: size that the picture is scaled to, pixels: the side of a square, or height and width; multiples of
                the model's stride between the smallest and the largest that the bundle was built for. The spec's where
                None.
            **settings: numbers that the task takes, see `task.settings`; the spec's where left out. Detection takes
                conf (lowest score, 0..1), iou (largest overlap of two boxes of a class, 0..1) and max_det (most
                boxes).

        Raises:
            InputError: the picture cannot be read, a setting is out of range, or this is a fork of the process that
                loaded the model.
            BundleError: the model cannot run, or puts out numbers that mean nothing, such as scores outside of 0..1.
        """
        return self._predict_stack([image], imgsz=imgsz, **settings)[0]

    __call__ = predict

    def __repr__(self) -> str:
        height, width = self._spec.frame.size
        where = f", {self._path}" if self._path else ""
        runs = self.stand_in or f"{_library(self.backend)} {self.backend.version}"
        model = f"{self.spec['task']}, {len(self.names)} classes, {height} x {width} pixels"
        return f"Predictor({model}, {runs}{escape(where)})"

    def predict_batch(self, images: Pictures, **settings: Any) -> list[Any]:
        """Returns the results of several pictures, as many at once as the model takes. Settings: those of `predict`.

        Args:
            images: pictures; or the path of a picture or a folder, a picture in memory, or an array (n, height, width,
                3) of several.
        """
        if may_never_end(images):
            raise InputError("a camera or a stream may never end, so its frames are no batch", fix="give it to stream")
        results: list[Any] = []
        stack: list[Picture] = []
        limit = self._spec.input.batches[1]
        for image in pictures_of(images):
            stack.append(image)
            if len(stack) == limit:
                results += self._predict_stack(stack, **settings)
                stack.clear()
        return results + (self._predict_stack(stack, **settings) if stack else [])

    def stream(
        self, images: Pictures, *, imgsz: int | Sequence[int] | None = None, hint: str | None = None, **settings: Any
    ) -> Stream:
        """Returns an iterator over the results of each picture, in order and equal to those of `predict`.

        Where the backend can run several inferences at a time, a few pictures are read ahead, prepared and inferred
        while those before them are decoded; there are never more in memory than that. A stream of more than a few
        pictures goes on in the runtime's setting for many, where it has one: for that the model is opened once more,
        which takes its memory again. `pipeline` of the iterator says what runs. An error of a picture is raised in its
        place, and `next` goes on behind it. Several threads may share the iterator. Closing it early (`close`, `with`)
        leaves nothing running.

        Args:
            images: a folder, a pattern or a file, also of a video; the number of a camera; the address of a stream
                (`rtsp://`, `http://`); an open `cv2.VideoCapture`, which stays open; or anything that gives pictures
                one by one, such as a generator. It may be read in a thread of its own. A picture in memory may
                be overwritten once the next picture is asked for.
            imgsz: as for `predict`; the other settings too.
            hint: "throughput" for the setting for many pictures from the first on, "latency" for the one of `predict`
                to the end; None for the first where it gains.

        Raises:
            InputError: `images` is no source of pictures, or `hint` is another word.
        """
        require_owner(self._process)
        pictures = pictures_of(images)
        size = self._spec.frame.size if imgsz is None else chosen_size(self._spec, imgsz)
        return self._lanes.stream(self, pictures, size, hint, settings)

    def infer(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Runs the model on an input tensor and returns copies of its raw outputs, in the order of the model's. A model
        that takes thresholds is given those of the spec."""
        require_owner(self._process)
        doing(RUNNING)
        with self._turn:
            return [np.array(output) for output in self._run(np.ascontiguousarray(tensor), {})]

    def preprocess(self, image: Picture) -> tuple[np.ndarray, Geometry]:
        """Returns the model's input for one picture, and where the picture stands in it."""
        tensor, geometries = self.stack([image])
        return tensor, geometries[0]

    def stack(
        self, images: Sequence[Picture], *, imgsz: int | Sequence[int] | None = None
    ) -> tuple[np.ndarray, list[Geometry]]:
        """Returns the model's input for the pictures of one run, and where each stands in it. Arguments: as `predict`.

        Raises:
            InputError: a picture cannot be read, there are more than the model takes, or the size is out of range.
        """
        most = self._spec.input.batches[1]
        if len(images) > most:
            raise InputError(f"{len(images)} pictures are more than the model takes at once: {most}")
        pictures = [as_picture(image, self._spec.input.channels) for image in images]
        require_owner(self._process)
        with self._turn:
            preprocessor = self._preprocessor(len(pictures), imgsz)
            geometries = [preprocessor.place(slot, picture) for slot, picture in enumerate(pictures)]
            return preprocessor.tensor.copy(), geometries

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: Geometry, *, slot: int = 0, **settings: Any) -> Any:
        """Reads the result of one picture out of the raw outputs.

        Args:
            outputs: all raw outputs of the model.
            geometry: from `preprocess`.
            slot: which picture of the stack.
            **settings: as for `predict`; and the switches of the task, see its `decode`.
        """
        known = self.task.switches.union(setting.name for setting in self.task.settings)
        if unknown := settings.keys() - known:
            raise TypeError(f"unknown setting '{min(unknown)}'; this task takes {', '.join(sorted(known))}")
        try:
            return self.task.decode(self.read_outputs(outputs), geometry, slot, settings)
        except OutputError as error:
            raise BundleError(str(error), where=str(self._path or "")) from error

    def read_outputs(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns those of all raw outputs that the task reads, in its order."""
        return [outputs[place] for place in self.outputs_read]

    def _predict_stack(
        self,
        images: Sequence[Picture],
        *,
        imgsz: int | Sequence[int] | None = None,
        **settings: Any,
    ) -> list[Any]:
        """Predicts as many pictures as fit into one run."""
        require_owner(self._process)
        clock = time.perf_counter
        started = clock()
        pictures = [as_picture(image, self._spec.input.channels) for image in images]
        with self._turn:
            read = clock()
            preprocessor = self._preprocessor(len(pictures), imgsz)
            geometries = [preprocessor.place(slot, picture) for slot, picture in enumerate(pictures)]
            doing(RUNNING)
            prepared = clock()
            outputs = self._run(preprocessor.tensor, settings)
            inferred = clock()
            results = [
                self.postprocess(outputs, geometry, slot=slot, **settings) for slot, geometry in enumerate(geometries)
            ]
            self.timings = timings(started, read, prepared, inferred, clock())
        return [self.noted(result, image) for result, image in zip(results, images, strict=True)]

    def noted(self, result: Any, picture: Picture) -> Any:
        """Returns a result that knows its picture, so that it can be drawn, where the result of the task can."""
        if isinstance(result, Shown):
            result.found_on(Origin(self.task, picture, self._spec.input.channels, self.stand_in))
        return result

    def give(self, taker: Any, settings: Given) -> None:
        """Gives a backend or a request the parameters of a prediction, where the model takes any."""
        if parameters := self.task.parameters(settings):
            taker.give(parameters)

    def _run(self, tensor: np.ndarray, settings: Given) -> list[np.ndarray]:
        """Runs the backend; an error of its library is raised as an error of the bundle."""
        try:
            self.give(self.backend, settings)
            return self.backend.infer(tensor)
        except (EdgecompileError, MemoryError):
            raise
        except Exception as error:  # libraries raise errors of any type
            message = f"the model cannot run: {last_line(error)}"
            raise BundleError(message, where=str(self._path or "")) from error

    def _preprocessor(self, pictures: int, imgsz: int | Sequence[int] | None) -> Preprocessor:
        """Returns the buffers for a run of `pictures`: those of the model's smallest batch, where that is larger."""
        size = self._spec.frame.size if imgsz is None else chosen_size(self._spec, imgsz)
        key = (max(pictures, self._spec.input.batches[0]), size)
        preprocessor = self._preprocessors.pop(key, None) or Preprocessor(self._spec, key[0], size)
        self._preprocessors[key] = preprocessor
        if len(self._preprocessors) > KEPT_BUFFERS:
            del self._preprocessors[next(iter(self._preprocessors))]
        return preprocessor


def _library(backend: Backend) -> str:
    """Returns the name of the file of a backend, which is that of its library."""
    return type(backend).__module__.rpartition(".")[2]


def _output_places(backend: Backend, spec: Spec) -> list[int]:
    """Returns which of the model's outputs the task reads, in its order. The only output may have another name."""
    if len(backend.outputs) == len(spec.task.outputs) == 1:
        return [0]
    places = []
    for name in spec.task.outputs:
        indices = [index for index, names in enumerate(backend.outputs) if name in names]
        if not indices:
            raise BundleError(f"the model has no output '{name}'")
        places.append(indices[0])
    return places
