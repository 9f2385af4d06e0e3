"""Running a model of unknown origin: within a time, and whatever ONNX Runtime says becomes one line."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np

from edgecompile.errors import StepError
from edgecompile.graphs.onnx.agreement import single_thread_session
from edgecompile.library_errors import explain
from edgecompile.plan.step import TIMEOUT

RUN_S = 120
"""Seconds that one run may take: the largest detection models need 20 on one core. Where a person has set the limit of
a whole step, that limit applies."""

Run = Callable[[np.ndarray], list[np.ndarray]]


def bounded_run(model: bytes, name: str, seconds: float = RUN_S) -> Run:
    """Returns a function that returns the outputs of an ONNX model on a picture.

    Args:
        model: a serialized model.
        name: of its file, for messages.
        seconds: after which a run is ended.

    Raises:
        StepError: ONNX Runtime cannot open the model; so does the function where it cannot run it, or not in time.
    """
    import onnxruntime

    try:
        session = single_thread_session(model, optimize="ORT_ENABLE_ALL")
    except Exception as error:  # its exceptions have no common base
        raise explain(error, f"'{name}'") from error
    (entry,) = (argument.name for argument in session.get_inputs())
    names = [argument.name for argument in session.get_outputs()]

    def run(picture: np.ndarray) -> list[np.ndarray]:
        options = onnxruntime.RunOptions()
        timer = None
        if TIMEOUT not in os.environ:
            timer = threading.Timer(seconds, lambda: setattr(options, "terminate", True))
            timer.daemon = True
            timer.start()
        try:
            outputs: list[np.ndarray] = session.run(None, {entry: picture}, options)
        except Exception as error:
            if options.terminate:
                fix = f"allow it more: --step-timeout {round(10 * seconds)}, or {TIMEOUT}"
                raise StepError(f"'{name}' did not end within {seconds:g} s on one picture", fix=fix) from error
            raise explain(error, f"'{name}'") from error
        finally:
            if timer:
                timer.cancel()
        for name_of, output in zip(names, outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiub":
                kind = str(output.dtype) if isinstance(output, np.ndarray) else f"a {type(output).__name__}"
                kind = "text" if kind in ("object", "a str") else kind
                raise StepError(f"the output '{name_of[:60]}' of '{name}' holds {kind}, expected numbers")
        return outputs

    return run
