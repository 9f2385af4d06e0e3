"""diagnosis.html: what a soak run saw and what it means, as one page that needs nothing else.

As the page of a build: no script, and a content security policy that forbids every request.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecompile.errors import StepError
from edgecompile.files import write_atomically
from edgecompile.report import charts
from edgecompile.report.html import _environment
from edgecompile.report.timelines import plots
from edgecompile.runtime.diagnosis import Diagnosis, growth_words, unnamed_words
from edgecompile.runtime.finding import SYMPTOMS, Finding


def render_diagnosis(diagnosis: Diagnosis) -> str:
    """Returns the page of a diagnosis.

    Raises:
        MissingToolError: jinja2 is not installed.
    """
    reported = [verdict.for_report() for verdict in diagnosis.gates]
    return (
        _environment()
        .get_template("diagnosis.html.j2")
        .render(
            diagnosis=diagnosis,
            subject=diagnosis.subject,
            timeline=diagnosis.timeline,
            latency=diagnosis.latency_ms,
            growth=diagnosis.growth,
            growth_words=growth_words(diagnosis.growth),
            symptoms=list(_symptoms(diagnosis)),
            plots=plots(diagnosis.timeline),
            looks=[look for look in diagnosis.timeline.looks if not look.met] or diagnosis.timeline.looks[-1:],
            gates=[(gate, charts.gate_bar(gate)) for gate in reported],
            machine={"machine": vars(diagnosis.subject.machine), "threads": diagnosis.timeline.threads},
        )
    )


def _symptoms(diagnosis: Diagnosis) -> Iterator[tuple[str, list[Finding], str]]:
    for symptom, title in SYMPTOMS.items():
        found = [finding for finding in diagnosis.findings if finding.symptom == symptom]
        yield title, found, unnamed_words(diagnosis, symptom)


def write_page(diagnosis: Diagnosis, path: Path) -> None:
    """Writes the page.

    Raises:
        StepError: the disk refuses.
        MissingToolError: jinja2 is not installed.
    """
    text = render_diagnosis(diagnosis)
    try:
        write_atomically(path, text.encode("utf-8", "backslashreplace"), sync=False)
    except OSError as error:
        raise StepError(f"the page cannot be written: {error.strerror or error}", where=str(path)) from error
