"""report.html: the report as one page that needs nothing else, readable offline and on a phone.

Jinja2 with autoescape, inline CSS and SVG, no script, and a content security policy that forbids every request. Equal
reports give equal bytes.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompile.data.counts import counts_from, describe
from edgecompile.errors import MissingToolError
from edgecompile.evaluate.gates import proof_words
from edgecompile.evaluate.tasks import find_task
from edgecompile.report import charts, number_format, repair_cost
from edgecompile.report.document import Report, confidence_of
from edgecompile.report.evidence_view import EvidenceView
from edgecompile.report.latency_view import latency_view
from edgecompile.report.layer_loss_view import layer_loss_view
from edgecompile.report.layer_view import layer_views
from edgecompile.runtime.figures import figures_from
from edgecompile.text import escape

if TYPE_CHECKING:
    from jinja2 import Environment

PICTURES = re.compile(r'<section id="pictures">.*?</section>', re.DOTALL)
"""The section whose content comes from the evaluations, which only a build has at hand."""
TEMPLATES = Path(__file__).parent / "templates"
FILTERS = {
    "score": number_format.score,
    "signed": number_format.signed,
    "change": number_format.change,
    "drop": number_format.drop,
    "ms": number_format.milliseconds,
    "seconds": number_format.seconds,
    "mb": number_format.megabytes,
    "number": number_format.number,
    "gate_title": number_format.gate_title,
    "gate_figure": number_format.gate_figure,
    "gate_limit": number_format.gate_limit,
    "stream": number_format.stream_line,
    "machine": number_format.machine_line,
    "exclusive": number_format.exclusive_line,
    "evidence": number_format.evidence,
    "memory": number_format.memory_remark,
    "speedup": number_format.speedup,
    "efficiency": number_format.efficiency,
    "repair_cost": repair_cost.cost_line,
    "repair_remarks": repair_cost.cost_remarks,
    "unjudged": number_format.unjudged,
    "coverage_share": number_format.coverage_share,
    "coverage_layers": number_format.coverage_layers,
}


def render_html(
    report: Report,
    *,
    picture: bytes | None = None,
    result: Any = None,
    evidence: EvidenceView | None = None,
    earlier: str = "",
) -> str:
    """Returns the page of a report.

    Args:
        report: what `edgecompile.report.document.report_of` returned, of either variant.
        picture: golden/input.png, drawn with `result` on it; None leaves both out.
        result: the document golden/result.json.
        evidence: what the evaluations show picture by picture; None leaves it out.
        earlier: the page that this one replaces: what it shows picture by picture stays where `evidence` is None.

    Raises:
        MissingToolError: jinja2 is not installed.
    """
    figures, confidence = figures_from(report["figures"]), confidence_of(report)
    gates = [(gate, charts.gate_bar(gate), proof_words(gate, figures, confidence)) for gate in report["gates"]]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            figures=figures,
            gates=gates,
            noise=number_format.noise(report["measured"]),
            noisy_gates=[gate for gate in report["gates"] if gate.get("noisy") and gate["met"] is None],
            scores=number_format.score_lines(figures.scores),
            classes=charts.per_class(figures, report["model"]["names"]),
            latency=charts.latency_bars(report["measured"]),
            predictions=latency_view(report["measured"]),
            on_device=latency_view((report.get("device") or {}).get("measured")),
            layer_loss=layer_loss_view(report),
            graph=charts.stage_graph(report["steps"]),
            data=describe(counts_from(report["data"])) if report["data"] else [],
            layers=list(layer_views(report)),
            golden=_golden(picture, result, report["model"]) if picture else None,
            recipe=_as_yaml(report["recipe"]),
            evidence=evidence,
            kept=_kept(earlier),
            commands=next_commands(report),
        )
    )


def _kept(page: str) -> Any:
    """Returns the section of a page of ours that shows pictures, as markup; "" where it has none."""
    from markupsafe import Markup

    found = PICTURES.search(page)
    return Markup(found[0]) if found else ""


def next_commands(report: Report) -> list[tuple[str, str]]:
    """Returns what to do next with a run, a command and what it is for; words of the report are quoted for a shell."""
    run = report.get("run")
    if run is None:
        return []
    bundle = run["bundle"]["name"] if "bundle" in run else None
    if not bundle:
        return [
            ("edgecompile diff EARLIER_RUN .", "what changed since a run that met its gates"),
            ("edgecompile sensitivity my-recipe.yaml", "which blocks lose most in INT8"),
            ("edgecompile plan my-recipe.yaml", "what a change would run again"),
        ]
    name = shlex.quote(bundle)
    return [
        (f"edgecompile predict {name} pictures --save drawn", "draws what it finds"),
        (f"edgecompile verify {name}", "on the device: that it runs there as here"),
        (f"edgecompile bench {name} --layers", "where the time goes"),
        (f"edgecompile deploy {name} ssh://user@board", "copies it to a device, verifies and measures it"),
        (f"edgecompile reproduce {name} --cache empty", "builds it again and compares digests"),
    ]


def _golden(picture: bytes, result: Any, model: Mapping[str, Any]) -> dict[str, Any]:
    width, height = charts.png_size(picture)
    task = find_task(model["task"])
    view = charts.golden_view(task.outlines(result), model["names"], task.whole_labels(result))
    return {"picture": base64.b64encode(picture).decode("ascii"), "width": width, "height": height, "view": view}


def _as_yaml(recipe: Mapping[str, Any]) -> str:
    """Returns the recipe as YAML, keys sorted: the page may not depend on the order in which JSON was read."""
    import yaml

    return yaml.safe_dump(dict(recipe), sort_keys=True, default_flow_style=None, width=100, allow_unicode=True)


def _shown_only(value: Any) -> Any:
    """Escapes what hides or reorders text; markup of the page itself is no plain `str`."""
    return escape(value, keep="\n") if type(value) is str else value


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        fix = "pip install 'edgecompile[compiler]'"
        raise MissingToolError("the report needs jinja2, which is not installed", fix=fix) from error
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown_only,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
