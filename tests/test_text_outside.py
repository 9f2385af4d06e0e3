"""Text from outside leaves the program by few ways: each place that prints or writes JSON by itself says why it may."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgecompile

PACKAGE = Path(edgecompile.__file__).parent
SAFE = ("escape", "to_json")
"""Functions of edgecompile/text.py of whose result anything may be printed."""

PRINTS = {
    "cli.py:_without_verb": "the version, the help and the verbs: text of the program itself",
    "compose/completion.py:main": "words to a shell that completes, those that `escape` changes left out",
    "device/remote_agent.py:*": "runs on a device without this package; its answers are JSON for `connection.py`, "
    "which reads them, and text that `on_device.py` escapes before it is shown",
    "local_plan.py:show_plan": "a drawing that `report/mermaid.py` has escaped",
    "runtime/probe.py:*": "JSON and operations for the process that started this one, which reads them",
    "runtime/supervisor.py:_print": "what the confined process printed: it runs this same program",
    "sweep/sweep_plan.py:_show": "a drawing that `report/mermaid.py` has escaped",
    "verbs/predict.py:add": "numbers",
    "verbs/predict.py:end": "control characters of the program itself that clear its line",
    "verbs/schema.py:run": "the JSON schema of recipes: text of the program itself",
}
"""Place -> why what it prints is fit for a terminal."""

DUMPS = {
    "data/fetch.py": "a file beside what was fetched",
    "data/coco_document.py:_brief": "an entry of a document as part of a message, which `tell` escapes",
    "device/": "calls to a device and their answers, read by programs; digests",
    "evaluate/": "files of the store, read by steps; `predict` and reports write names again",
    "execute/": "keys, digests, messages between processes, a holder's number in a lock",
    "execute/plan_status.py": "a parameter as part of a reason, which `report/terminal.py` escapes",
    "graphs/": "files of the store, read by steps",
    "passes/_activation_swap.py:write_refit": "a file of the store, read by steps",
    "passes/_statement_proof.py:prove": "a file of the store, read by no person",
    "plan/step_progress.py:tell": "a line to the process that started this one, which reads it",
    "quantization/": "files of the store, read by steps",
    "recipe/jsonschema.py": "the JSON schema of recipes: text of the program itself",
    "recipe/validate.py": "what pydantic reads",
    "reproduction.py": "read again at once",
    "run_dir.py": "files of a run directory, read by programs",
    "runtime/device_cache.py": "a digest",
    "runtime/finished.py": "digests, and a file beside a device's engine",
    "runtime/device_key.py:message_of": "a text to sign, read by no person",
    "runtime/measured_process.py": "requests to a process of this program",
    "runtime/probe.py": "an answer to the process that started this one",
    "runtime/tuning.py:keep": "a file of the device's cache, read by programs",
    "runtime/worker.py": "notes to the process that started this one",
    "signing.py:_line": "a line of a file of signatures, read by programs",
    "text.py": "the way itself",
}
"""Beginning of places -> why JSON that keeps control characters as \\u escapes at least is enough there."""


def calls(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.Call]]:
    """Yields each call with the innermost function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if isinstance(node, ast.Call):
            yield inside, node
        yield from calls(node, node.name if named else inside)  # type: ignore[attr-defined]


def prints(call: ast.Call) -> bool:
    """Whether a call prints something that is not made fit to be printed right there."""
    called = ast.unparse(call.func)
    if called not in ("print", "sys.stdout.write", "sys.stderr.write", "rich.print", "sys.stdout.buffer.write"):
        return False
    return not all(isinstance(one, ast.Call) and ast.unparse(one.func) in SAFE for one in call.args)


def places(which) -> set[str]:
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        found |= {f"{file}:{inside}" for inside, call in calls(ast.parse(path.read_text())) if which(call)}
    return found


def unexplained(found: set[str], allowed: dict[str, str]) -> set[str]:
    return {one for one in found if not any(one.startswith(place.rstrip("*")) for place in allowed)}


def unused(found: set[str], allowed: dict[str, str]) -> set[str]:
    return {place for place in allowed if not any(one.startswith(place.rstrip("*")) for one in found)}


@pytest.mark.slow
def test_each_place_that_prints_says_why_it_may() -> None:
    found = places(prints)
    assert unexplained(found, PRINTS) == set(), "print with `tell`, `escape` or `to_json` of edgecompile/text.py"
    assert unused(found, PRINTS) == set()


@pytest.mark.slow
def test_each_place_that_writes_json_by_itself_says_why_it_may() -> None:
    found = places(lambda call: ast.unparse(call.func) in ("json.dumps", "json.dump"))
    assert unexplained(found, DUMPS) == set(), "write with `to_json` of edgecompile/text.py what a person may see"
    assert unused(found, DUMPS) == set()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("print(name)", True),
        ("print('done', to_json(x))", True),
        ("sys.stderr.write(f'{name}')", True),
        ("print(to_json(x, indent=2))", False),
        ("print(escape(x), end='')", False),
        ("tell(name)", False),
    ],
)
def test_control_what_counts_as_printing(code: str, found: bool) -> None:
    assert any(prints(call) for _, call in calls(ast.parse(f"def f():\n    {code}"))) == found
