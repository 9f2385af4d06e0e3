"""A bundle of the float model, for the device on which a build measures its artifact: there the two take turns, as they
do where a build measures the machine it runs on. It is measured and thrown away, never published.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgecompile.bundle.assemble import target_facts
from edgecompile.plan.graph import Model
from edgecompile.plan.step import Output
from edgecompile.plan.validation import REFERENCE

if TYPE_CHECKING:
    from edgecompile.bundle.manifest import ManifestDraft
    from edgecompile.plan.graph import Plan
    from edgecompile.targets import Target

FLOAT = "fp32"


def float_twin(target: Target, plan: Plan, manifest: ManifestDraft) -> tuple[Plan, ManifestDraft] | None:
    """Returns plan and manifest of the float model that a build compared its artifact with, as ONNX for the target's
    own runtime; None where the artifact is float itself, or the runtime of the target does not open ONNX as it is.

    Its golden vectors stay those of the artifact: nobody verifies the float model, its accuracy is known.

    Args:
        plan, manifest: of the artifact.
    """
    if plan.result.precision == FLOAT or not target.opens_onnx or target.finalize:
        return None
    inputs = plan[REFERENCE].inputs
    artifact, spec = inputs["artifact"], inputs["spec"]
    assert isinstance(artifact, Output), "the float model is what a step put out"
    assert isinstance(spec, Output), "its spec too"
    facts = target_facts(target, FLOAT).model_copy(update={"options": dict(target.options())})
    changes = {"name": f"{manifest.name}-{FLOAT}", "precision": FLOAT, "target": facts, "gates": []}
    return replace(plan, result=Model(artifact, spec, precision=FLOAT)), manifest.model_copy(update=changes)
