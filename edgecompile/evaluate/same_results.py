"""Step: proof that an artifact with its post-processing gives what the runtime makes of the artifact without it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from edgecompile.errors import BundleError, StepError
from edgecompile.runtime import open_artifact
from edgecompile.runtime.options import Options
from edgecompile.runtime.pictures import read_picture


class SameFacts(TypedDict):
    """What the step returns.

    pictures: how many were compared.
    found: how many things on them.
    identical: on how many pictures every number is the same, as the golden vectors keep numbers.
    changes: the same in the words of the report.
    """

    pictures: int
    found: int
    identical: int
    changes: list[str]


def compare(
    out: Path,
    *,
    plain: Path,
    plain_spec: Path,
    artifact: Path,
    spec: Path,
    pictures: list[Path],
    backend: str,
    options: Options,
    threads: int,
) -> SameFacts:
    """Compares the results of an artifact with those of the same artifact without its post-processing, which the
    runtime does by the same thresholds.

    Args:
        plain: the artifact before its post-processing was built in, with `plain_spec`.
        pictures: all of them are compared.
        backend: file of `edgecompile/runtime/backends/` that runs both, opened with `options`.

    Raises:
        StepError: on a picture, the results differ by more than golden results may (`Task.agreement`).
    """
    raw = open_artifact(plain, plain_spec, backend, options, threads)
    embedded = open_artifact(artifact, spec, backend, options, threads)
    settings = {setting.name: getattr(embedded.task, setting.name) for setting in embedded.task.settings}
    found = identical = 0
    for picture in pictures:
        image = read_picture(picture)
        try:
            expected, result = raw.predict(image, **settings), embedded.predict(image)
        except BundleError as error:
            raise StepError(f"{artifact.name}: {error.problems[0].message}, on {picture.name}") from error
        golden = raw.task.golden(expected)
        agreement = embedded.task.agreement(result, golden)
        if not agreement.met:
            raise StepError(
                f"the post-processing in the artifact finds other things than the runtime on {picture.name}: "
                f"{agreement.detail}",
                fix="leave the pass out: passes.embed_postprocess=null",
            )
        found += len(result)
        identical += embedded.task.golden(result) == golden
    line = f"{found} results on {len(pictures)} pictures agree, {identical} pictures to the last digit kept"
    return {"pictures": len(pictures), "found": found, "identical": identical, "changes": [line]}
