"""The points of a sweep are those of Hydra, and each is the recipe that Hydra composes of it."""

from __future__ import annotations

from collections.abc import Sequence

import hydra
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from edgecompile.cli import parser_of
from edgecompile.compose import application, composition
from edgecompile.compose.application import Job
from edgecompile.compose.command_line import read_line
from edgecompile.compose.hydra_errors import explained
from edgecompile.compose.overrides import NUMBER, Reader
from edgecompile.compose.sweep_points import all_at_once
from edgecompile.errors import RecipeError
from edgecompile.places import conf_folder, sample_folder
from edgecompile.recipe import folders, locate
from edgecompile.recipe.materials import find_materials
from edgecompile.recipe.schema import Recipe
from edgecompile.sweep.points import Point

pytestmark = pytest.mark.slow


def points_of(*words: str) -> tuple[list[Point], list[str]]:
    """Returns the points of a command line and the remarks on them."""
    line = read_line(parser_of("plan").read(words), folders.recipe_names)
    composition.set_up(line.own_folders)
    found: list = []
    with explained(), all_at_once(lambda sweep: found.append(([*sweep], [*sweep.notes]))):
        application._hydra_main(Job(lambda *_: None, line.options), line.for_hydra())
    return found[0]


def by_hydra(overrides: Sequence[str]) -> tuple[Recipe | None, list[str], list[str]]:
    """Returns recipe, problems and remarks of one point, as its job gets them: by Hydra's own composition."""
    composition.set_up(folders.own_folders)
    with hydra.initialize_config_dir(str(conf_folder()), job_name="edgecompile", version_base="1.3"), explained():
        config = hydra.compose(locate.PRIMARY, list(overrides), return_hydra_config=True)
        composition.HydraConfig.instance().set_config(config)
        try:
            recipe, notes = composition.recipe_of(composition.task_of(config))
            return recipe, [], notes
        except RecipeError as error:
            return None, [str(problem) for problem in error.problems], []


def check(*words: str, most: int = 4) -> list[Point]:
    """Compares at most so many points of a sweep with what Hydra makes of them, and returns all of them."""
    points, notes = points_of(*words)
    for point in points[:: -(-len(points) // most)]:
        recipe, problems, remarks = by_hydra(point.overrides)
        assert sorted(str(problem) for problem in point.problems) == sorted(problems), point.overrides
        assert set(remarks) <= set(notes)
        assert (point.recipe is None) == (recipe is None)
        if recipe and point.recipe:
            assert point.recipe.model_dump_json(by_alias=True) == recipe.model_dump_json(by_alias=True)
            for keys in (("model", "weights"), ("model", "imgsz"), ("data", "path"), ("gates", "map_drop"), ("name",)):
                assert point.recipe.origins.of(*keys) == recipe.origins.of(*keys)
    return points


@pytest.mark.parametrize(
    "words",
    [
        ("recipe=quickstart,x86-cpu_openvino_int8", "model.imgsz=range(32,96,32)", "gates.map_drop=0.01,0.02,3"),
        ("recipe=glob(x86-cpu_*)", "target.threads=1,2"),
        ("target=glob(x86*)", "model=sample,yolo26n", "gates.fps=1"),
        ("passes.int8_static.percentile=range(99,100,0.25)", "passes.int8_static.method=minmax,percentile,maxmin"),
        ("~passes.simplify", "name=a,b"),
        ("passes.simplify=null,{}", "+passes.fp16={},null"),
        ("+passes.half={kind: fp16}", "passes.int8_static=null"),
        ("++passes.int8_static.exclude=[],auto,['*/dfl/*',auto]", "order=null,[onnx_export,simplify,int8_static]"),
        ("description='a, b','it is {x}',plain text", "name=\"ein name\",'null'", "model.imgsz=256"),
        ("data={validation: {images: 8}},{validation: {images: 9}, calibration: null}", "model.imgsz=[192,256],256"),
        ("model={imgsz: 96}", "++data.validation={split: val, images: 8}", "gates={map_drop: 0.5, fps: null},{fps: 2}"),
        ("name.x=1,2",),
        ("model.weights=a.pt,b.pt", "model.imgsz=33,64"),
        ("data.path=sample://data.yaml,nowhere.yaml", "model.imgsz=33"),
        ("++evaluate.iou=0.5,.inf,nan,1e-1,-1,true", "++evaluate.max_det=10,1_000,007"),
        ("model.weights=???,c.pt", "unknown.key=1,2"),
        ("+pass@passes=fp16", "name=a,b"),
        ("description=${model.imgsz} px,${name}", "model.imgsz=64,96"),
        ("description=${no.such.key},b",),
        ("order.0=x,y", "name=a"),
    ],
    ids=lambda words: " ".join(words),
)
def test_each_point_is_what_hydra_composes(words):
    assert len(check("-m", *words)) >= 1


def test_ten_thousand_points_on_a_sample():
    points = check(
        "-m", "recipe=quickstart,x86-cpu_openvino_int8", "model.imgsz=range(32,832,32)", "gates.map_drop=0.1,0.2",
        "passes.int8_static.percentile=range(90,100,0.1)",
    )  # fmt: skip
    assert len(points) == 10_000
    assert len({point.alike for point in points}) == 5_000  # gates do not change what runs
    assert len({point.files for point in points}) == 2


def test_points_are_those_of_the_basic_sweeper():
    words = ["++model.imgsz=sort(96,32,64)", "++gates.fps=1,2", "++target.threads=range(3)", "name=tag(x,choice(a,b))"]
    points, _ = points_of("-m", *words)
    (jobs,) = BasicSweeper.split_arguments(
        OverridesParser.create().parse_overrides(["++" + words[-1], *words[:-1]]), None
    )
    assert {point.overrides[-1] for point in points} == {"++name=a", "++name=b"}
    assert sorted(sorted(point.overrides) for point in points) == sorted(map(sorted, jobs))


def test_a_recipe_of_ones_own_that_refers_to_other_keys(write):
    name = write("name: px-${model.imgsz}\ndescription: ${target.device} at ${model.imgsz}\nmodel: {imgsz: 64}\n")
    points = check("-m", name, "model.imgsz=64,96,33", "gates.fps=1,2")
    assert [point.recipe and point.recipe.name for point in points] == ["px-64"] * 2 + ["px-96"] * 2 + [None] * 2


def test_problems_stand_where_they_are(write):
    name = write("model: {imgsz: 64}\ngates: {fsp: 1}\n")
    points = check("-m", name, "passes.int8_static.method=minmax,percentil", "name=a,b")
    assert [str(one) for one in points[0].problems] == ["my.yaml:7:gates.fsp: unknown key 'fsp'; did you mean 'fps'?"]
    assert str(points[-1].problems[-1]).startswith("command line:passes.int8_static.method: found the text 'percentil'")


def test_shadowed_files_and_overruled_choices_are_told(write):
    write("model: {imgsz: 320}\n", "quickstart.yaml")
    points, notes = points_of("-m", "quickstart.yaml", "gates.fps=1,2")
    assert [point.recipe.model.imgsz for point in points] == [320, 320]
    assert len(notes) == 1
    assert notes[0].startswith("'recipe/quickstart' is quickstart.yaml; ")
    points = check("-m", "quickstart.yaml", "model=sample,yolo11n", "gates.fps=1")
    assert all(point.recipe for point in points)


def test_relative_paths_lie_where_they_are_named(write, here):
    for folder in (here, here / "a"):
        folder.mkdir(exist_ok=True)
        (folder / "w.pt").write_bytes((sample_folder() / "parts.pt").read_bytes())
    name = write("model: {imgsz: 64, weights: w.pt}\n", "a/my.yaml")
    (inside,) = {point.files for point in check("-m", name, "gates.fps=1,2")}
    typed = check("-m", name, "model.weights=w.pt", "gates.fps=1,2")
    assert inside not in {point.files for point in typed}
    assert find_materials(typed[0].recipe).weights.paths == (str(here / "w.pt"),)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model.imgsz=interval(32,64)"], "does not support sweep type"),
        (["recipe=quickstart,quikstart"], "did you mean 'quickstart'?"),
        (["~passes.nothing", "name=a,b"], "nothing to delete"),
        (["+passes.int8_static.method=minmax", "name=a,b"], "already at"),
        (["model={imgsz: 32},sample"], "a choice in some points and a mapping in others"),
        (["name=a,b", "gates.fps=[1"], "'[' in [1 has no partner"),
    ],
)
def test_what_hydra_cannot_compose_is_one_line(words, line):
    with pytest.raises(RecipeError) as caught:
        points_of("-m", *words)
    assert line in str(caught.value)
    assert len(caught.value.problems) == 1


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False, allow_infinity=False)))
def test_numbers_are_read_as_hydra_reads_them(number):
    text = str(number)
    if NUMBER.fullmatch(text):
        value, other = (
            Reader().change(f"++a.b={text}").value,
            OverridesParser.create().parse_override(f"a={text}").value(),
        )
        assert (value, type(value)) == (other, type(other))


def test_a_sweeper_whose_points_are_found_as_it_runs_is_refused(monkeypatch):
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(group="hydra/sweeper", name="seeking", node={"_target_": "some.where.Sweeper"})
    with pytest.raises(RecipeError, match="the points of the sweeper 'seeking' are known only while it runs"):
        points_of("-m", "hydra/sweeper=seeking", "gates.fps=1,2")


LISTS = "+hydra.sweeper.list_params={model.imgsz: [224, 256], name: [a, b]}"
ABLATIONS = "hydra.sweeper.ablative_params=[{name: c}, {gates.fps: 1}]"


def test_the_points_of_the_list_sweeper(capfd):
    """Points of an ablation have other keys than the rest."""
    pytest.importorskip("hydra_plugins.list_sweeper_plugin")
    points = check("-m", "hydra/sweeper=list", LISTS, ABLATIONS, "recipe=quickstart,x86-cpu_openvino_fp32", most=12)
    found = [(one.recipe.target.kind, one.recipe.model.imgsz, one.recipe.name, one.recipe.gates.fps) for one in points]
    assert found == [
        (kind, size, name if swapped is None else swapped, fps)
        for swapped, fps in ((None, None), ("c", None), (None, 1))
        for kind in ("onnxruntime", "openvino")
        for size, name in ((224, "a"), (256, "b"))
    ]
    assert capfd.readouterr().out == ""


EXPRESSION = 'hydra.sweeper.filters=[{hydra_filter_sweeper.Expression: {expr: "%s"}}]'


def test_the_points_that_the_filter_sweeper_leaves():
    pytest.importorskip("hydra_filter_sweeper")
    rule = EXPRESSION % "model['imgsz'] > 300 and name == 'a'"
    points = check("-m", "hydra/sweeper=filter", rule, "model.imgsz=256,320", "name=a,b")
    assert [(one.recipe.model.imgsz, one.recipe.name) for one in points] == [(256, "a"), (256, "b"), (320, "b")]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["hydra/sweeper=filter", EXPRESSION % "True", "name=a,b"], "the sweeper leaves no point"),
        (["hydra/sweeper=filter", EXPRESSION % "nothing == 1", "name=a,b"], "the sweeper cannot list its points"),
        (["hydra/sweeper=list", "+hydra.sweeper.list_params={name: [a, b], gates.fps: [1]}"], "different length"),
    ],
)
def test_a_sweeper_that_lists_no_points(words, line):
    pytest.importorskip("hydra_plugins.list_sweeper_plugin")
    pytest.importorskip("hydra_filter_sweeper")
    with pytest.raises(RecipeError) as caught:
        points_of("-m", *words)
    assert line in str(caught.value)
    assert len(caught.value.problems) == 1
