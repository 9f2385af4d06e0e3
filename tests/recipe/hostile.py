"""Recipes that ask for what a recipe may not: code, files, environment variables, settings of Hydra, endless work.

Each is a set of files in the working directory; `my.yaml` is built, with the words of `line` behind it. What they aim
at has one name, `CANARY`: a variable or a file, so that a test can look for it everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

CANARY = "EDGECOMPILE_CANARY"
"""What no recipe may set, write, import or read."""
RECIPE = "my.yaml"
EXTENDS = "defaults: [quickstart, _self_]\n"
LINES = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    "


@dataclass(frozen=True)
class Hostile:
    """One attack.

    Attributes:
        name: of the case.
        files: path to content, below the working directory.
        where: what the first message begins with.
        says: words in it.
        line: what stands on the command line behind the recipe.
    """

    name: str
    files: dict[str, str] = field(repr=False)
    where: str
    says: str
    line: tuple[str, ...] = ()


def recipe(name: str, text: str, where: str, says: str, **files: str) -> Hostile:
    """Returns an attack by a recipe, and by what lies beside it (`__` in a name stands for a slash)."""
    beside = {f"{key.replace('__', '/')}.yaml": value for key, value in files.items()}
    return Hostile(name, {RECIPE: text, **beside}, where, says)


def swept(name: str, key: str, value: str = "'1,2'", section: str = "params", says: str = "Hydra's own") -> Hostile:
    """Returns an attack by a key among the parameters of a sweep."""
    text = f"{EXTENDS}{LINES}{section}:\n      {key}: {value}\n"
    return recipe(name, text, f"my.yaml:6:hydra.sweeper.{section}.", says)


def own_setting(name: str, text: str, says: str = "is not for a recipe to set", line: int = 2) -> Hostile:
    """Returns an attack by a setting of Hydra's."""
    return recipe(name, f"{EXTENDS}{text}\n", f"my.yaml:{line}:hydra", says)


def default(name: str, item: str, says: str = "sets Hydra itself", **files: str) -> Hostile:
    """Returns an attack by an item of the defaults list."""
    return recipe(name, f"defaults:\n  - quickstart\n  - {item}\n  - _self_\n", "my.yaml:3:defaults", says, **files)


def value(name: str, text: str, says: str = "reads more than the recipe", key: str = "name") -> Hostile:
    """Returns an attack by a value."""
    return recipe(name, f"{EXTENDS}{key}: {text}\n", "my.yaml:2:", says)


def every() -> Iterator[Hostile]:
    """Yields all of them."""
    yield from swept_keys()
    yield from swept_values()
    yield from settings()
    yield from defaults()
    yield from packages()
    yield from values()
    yield from yaml_tricks()
    yield from endless()


def swept_keys() -> Iterator[Hostile]:
    for section in ("params", "list_params", "grid_params"):
        yield swept(f"environment through {section}", f"++hydra.job.env_set.{CANARY}", section=section)
    yield swept("LD_PRELOAD", "++hydra.job.env_set.LD_PRELOAD", "'/tmp/x.so,/tmp/y.so'")
    yield swept("environment without a sign", f"hydra.job.env_set.{CANARY}", "x")
    yield swept("environment, quoted key", f'"+hydra.job.env_set.{CANARY}"', "x")
    yield swept("copied environment", "++hydra.job.env_copy", "'[HOME]'")
    yield swept("log file", "++hydra.job_logging.handlers.x", f"'{{class: logging.FileHandler, filename: {CANARY}}}'")
    yield swept("log file, Hydra's own", "++hydra.hydra_logging.root", "'{level: DEBUG}'")
    yield swept("folder of runs", "hydra.sweep.dir", f"../{CANARY}")
    yield swept("folder of a run", "++hydra.run.dir", f"../{CANARY}")
    yield swept("callback", "++hydra.callbacks.x", "'{_target_: os.system}'")
    yield swept("launcher's class", "++hydra.launcher._target_", "os.system")
    yield swept("sweeper inside a sweep", f"++hydra.sweeper.params.{CANARY}", "x")
    yield swept("output folder", "++hydra.output_subdir", CANARY)
    yield swept("search path", "hydra.searchpath", "'[file:///tmp]'")
    yield swept("deleting a setting", "~hydra.job_logging", "null")
    yield swept("launcher group", "hydra/launcher", "'basic,joblib'")
    yield swept("logging group", "+hydra/job_logging", "default")
    yield swept("group placed at Hydra", "+data@hydra.job", "sample", says="Hydra's own")
    yield swept("group placed by way of the root", "+data@_global_.hydra.job", "sample", says="Hydra's own")
    yield swept("capitals", f"++HYDRA.job.env_set.{CANARY}", says="Hydra's own")
    yield swept("look-alike letters", f"'++h\u0443dra.job.env_set.{CANARY}'", says="is no key of a recipe")
    yield swept("wide letters", f"'++\uff48ydra.job.env_set.{CANARY}'", says="is no key of a recipe")
    yield swept("invisible letter", f"'++hy\u200bdra.job.env_set.{CANARY}'", says="is no key of a recipe")
    yield swept("index into Hydra", f"'++[hydra].job.env_set.{CANARY}'")
    yield swept("key with an override in it", "'model.imgsz=256 ++hydra.job.chdir'", says="Hydra's own")
    yield swept("key with a line in it", '"model.imgsz=256\\n++name"', says="is no key of a recipe")
    yield swept("empty key", "''", says="is no key of a recipe")
    yield swept("no key of a recipe", "++model.wieghts", says="did you mean 'weights'?")
    yield swept("code in a model", "++model._target_", "os.system", says="no recipe has the key '_target_'")
    yield swept("key of nothing", f"++{CANARY}.x", says=f"no recipe has the key '{CANARY}'")
    yield swept("group of nothing", "+nothing", "a", says="is neither a key of a recipe nor a config group")
    yield swept(
        "group of nothing, deeper", "+data/nothing", "a", says="is neither a key of a recipe nor a config group"
    )
    yield swept("nested mapping", "hydra", f"{{job: {{env_set: {{{CANARY}: x}}}}}}")
    yield swept("nested mapping of a section", "model", "{imgsz: '256,320'}", says="found a mapping, expected values")


def swept_values() -> Iterator[Hostile]:
    for name, text in {
        "environment": "${oc.env:HOME}",
        "Hydra's job": "${hydra:job.num}",
        "Hydra's node": "${hydra.runtime.cwd}",
        "time": "${now:%Y}",
        "a name put together": "${${name}:HOME}",
        "in a mapping": "{a: '${oc.env:HOME}'}",
        "in a choice": "choice(a,${oc.env:HOME})",
    }.items():
        quoted = text.replace("'", "''")
        yield swept(f"value reads: {name}", "++name", f"'{quoted}'", says="reads more than the recipe")
    yield swept("value in a list reads", "name", "['a', '${oc.env:HOME}']", "list_params", "reads more than the recipe")
    yield swept("list of mappings", "model", f"[{{{CANARY}: 1}}]", "list_params", "expected values")
    yield swept("deep brackets", "++name", f"'{'[' * 4000}{']' * 4000}'", says="brackets nested deeper than 8")
    yield swept("deep calls", "++name", f"'{'choice(' * 900}a{')' * 900}'", says="brackets nested deeper than 8")
    yield swept("many values", "++model.imgsz", f"'{','.join(['256'] * 12000)}'", says="characters of values")
    yield swept(
        "endless range", "++data.calibration.images", "'range(1,1000000000)'", says="a sweep of 999999999 points"
    )
    yield swept("range of small steps", "++evaluate.conf", "'range(0.0,1.0,0.0000001)'", says="points are taken")
    yield swept("range without steps", "++evaluate.conf", "'range(0.0,1.0,0.0)'", says="a sweep without end")
    product = "\n      ".join(f"{key}: '{','.join(map(str, range(20)))}'" for key in ("++gates.fps", "++gates.size_mb"))
    product += "\n      ++gates.map_drop: 'range(0.0,1.0,0.001)'"
    yield recipe(
        "product of ranges",
        f"{EXTENDS}{LINES}params:\n      {product}\n",
        "my.yaml:8:hydra.sweeper.params.++gates.map_drop",
        "a sweep of 400000 points",
    )
    yield swept("outside the folder of groups", "+data", "../../etc/passwd", says="leaves the folder")


def settings() -> Iterator[Hostile]:
    yield own_setting("environment as a setting", f"hydra: {{job: {{env_set: {{{CANARY}: x}}}}}}")
    yield own_setting("folder", f"hydra: {{run: {{dir: ../{CANARY}}}}}")
    yield own_setting("dotted keys", f"hydra: {{job.env_set: {{{CANARY}: x}}}}")
    yield own_setting("dotted key of a sweeper", f"hydra: {{sweeper.params: {{++hydra.run.dir: {CANARY}}}}}")
    yield own_setting("sampler", "hydra: {sweeper: {sampler: {seed: 1}}}")
    yield own_setting("ablations", f"hydra: {{sweeper: {{ablative_params: [{{hydra.run.dir: {CANARY}}}]}}}}")
    yield own_setting("filters", "hydra: {sweeper: {filters: [{os.system: {}}]}}")
    yield own_setting("verbosity", "hydra: {verbose: true}")
    yield own_setting("help", "hydra: {help: {template: x}}")
    yield own_setting("all of it elsewhere", f"hydra: ${{passes}}\npasses: {{job: {{env_set: {{{CANARY}: x}}}}}}", "")
    yield own_setting(
        "parameters elsewhere", f"hydra: {{sweeper: {{params: '${{passes}}'}}}}\npasses: {{x: {CANARY}}}", ""
    )
    yield own_setting("nothing left of it", "hydra: null", "expected a mapping")
    yield own_setting("a list", f"hydra: [{CANARY}]", "expected a mapping")
    yield own_setting("no sweeper", "hydra: {sweeper: null}", "expected a mapping")
    yield own_setting("another mode", "hydra: {mode: RUN_ALL}", "expected RUN or MULTIRUN")
    yield own_setting("mode of a mapping", "hydra: {mode: {a: b}}", "expected a plain value")
    yield own_setting(
        "endless search", "hydra: {mode: MULTIRUN, sweeper: {n_trials: 999999999}}", "expected a whole number"
    )
    yield recipe("dotted root", f"{EXTENDS}hydra.run.dir: ../{CANARY}\n", "my.yaml:2:hydra.run.dir", "")


def defaults() -> Iterator[Hostile]:
    yield default("logging", "override hydra/job_logging: default")
    yield default("logging, from the root", "override /hydra/job_logging: default")
    yield default("environment group", "override /hydra/env: x", hydra__env__x=f"{CANARY}: x\n")
    yield default("launcher with a tail", "override /hydra/launcherx: basic")
    yield default("launcher below", "override /hydra/launcher/deep: basic")
    yield default("launcher of a person", "override /hydra/launcher: evil", "is not for a recipe to choose")
    beside = "_target_: os.system\n"
    yield default("launcher beside", "override /hydra/launcher: x", "not for a recipe", hydra__launcher__x=beside)
    yield default("launcher that costs", "override /hydra/launcher: ray_aws", "is not for a recipe to choose")
    yield default("launcher elsewhere", "override /hydra/launcher@hydra.callbacks: basic")
    yield default("config of Hydra's", "/hydra/launcher/basic")
    yield default("package", "evil@hydra.job", evil=f"env_set: {{{CANARY}: x}}\n")
    yield default("package from the root", "evil@_global_.hydra.job", evil=f"env_set: {{{CANARY}: x}}\n")
    yield default("package of a group", "/data@hydra.job: sample")
    yield default("package renamed", "/data@data:hydra.job: sample", "")
    yield default("package of nothing", f"/data@{CANARY}: sample", "is placed at")
    yield default(
        "folder that leads to the root", "/x/_global_/hydra/job: evil", x___global___hydra__job__evil="a: 1\n"
    )
    yield default("out of the folder", "../../../etc/passwd", "recipe '../../../etc/passwd' not found")
    yield default("out of the folder, a choice", "override /data: ../../../etc/passwd", "leaves the folder of recipes")
    yield default("absolute", "//etc/passwd", "is no name")
    yield default("absolute recipe", f"/recipe: //{CANARY}", "is no name")
    yield default("interpolated", "override /data: ${oc.env:HOME}", "is no name")
    yield default("tab", '"override\\t/hydra/job_logging": default', "")
    yield default("nested", "[[quickstart]]", "expected a name or a list of names")
    yield default("mapping of mappings", "override /data: {a: {b: c}}", "expected a name or a list of names")


def packages() -> Iterator[Hostile]:
    for name, package in {"plain": "hydra.job", "from the root": "_global_.hydra.job", "elsewhere": "a.b"}.items():
        text = f"# @package {package}\nenv_set: {{{CANARY}: x}}\n"
        yield recipe(f"head: {name}", text, "my.yaml:1", f"the package '{package}' is not for recipes to set")
    split = f"#\u2028# @package hydra.job\nenv_set: {{{CANARY}: x}}\n"
    yield recipe("head: behind another kind of line", split, "my.yaml:1", "is not for recipes to set")
    setting = f"# @package _global_\nhydra: {{job: {{env_set: {{{CANARY}: x}}}}}}\n"
    yield Hostile(
        "group of a person's folder sets Hydra",
        {RECIPE: EXTENDS, "conf/extra/evil.yaml": setting},
        "conf/extra/evil.yaml:2:hydra.job",
        "is not for a recipe to set",
        ("--config-dir", "conf", "+extra=evil"),
    )
    yield Hostile(
        "group of a person's folder leads into Hydra",
        {RECIPE: EXTENDS, "conf/x/_global_/hydra/job/evil.yaml": f"env_set: {{{CANARY}: x}}\n"},
        "conf/x/_global_/hydra/job/evil.yaml",
        "it would be merged into 'hydra.job'",
        ("--config-dir", "conf", "+x/_global_/hydra/job=evil"),
    )
    yield Hostile(
        "launcher of a person's folder shadows Hydra's",
        {RECIPE: EXTENDS, "conf/hydra/launcher/basic.yaml": "n_jobs: 4\n"},
        "conf/hydra/launcher/basic.yaml",
        "may not hold settings of Hydra",
        ("--config-dir", "conf"),
    )


def values() -> Iterator[Hostile]:
    yield value("environment", "${oc.env:HOME}")
    yield value("environment, with blanks", '"${ oc.env : HOME }"')
    yield value("environment, a name put together", '"${${description}:HOME}"')
    yield value("environment, a part put together", '"${oc.${description}:HOME}"')
    yield value("Hydra's choices", "${hydra:runtime.cwd}")
    yield value("Hydra's node", "${hydra.runtime.cwd}")
    yield value("Hydra's node, relative", '"${..hydra.runtime.cwd}"')
    yield value("our resolver", "${edgecompile.folder:x}")
    yield value("long text", f'"{"x" * 5000}${{description}}"', "an interpolation in")
    yield value("itself", '"${name}"', "")
    yield value("code", "{_target_: os.system}", "names code to run", key="model")
    yield value("code in a pass", "{int8_static: {_target_: os.system}}", "names code to run", key="passes")
    yield value("path as a name", f"../../{CANARY}", "", key="name")
    yield value("option of ssh", f"{{host: 'ssh://-oProxyCommand=touch${{IFS}}{CANARY}'}}", "", key="device")
    yield value("out of the sample", "{weights: 'sample://../../x.pt'}", "leaves the embedded sample", key="model")


def yaml_tricks() -> Iterator[Hostile]:
    setting = f"{{hydra: {{job: {{env_set: {{{CANARY}: x}}}}}}}}"
    yield recipe("merge key", f"{EXTENDS}<<: {setting}\n", "my.yaml:2:<<", "merge keys ('<<') are refused")
    yield recipe("merge keys", f"{EXTENDS}<<: [{setting}]\n", "my.yaml:2:<<", "merge keys ('<<') are refused")
    yield recipe("alias", f"{EXTENDS}name: &a x\nhydra: *a\n", "my.yaml:2:name", "anchors and aliases")
    tagged = f"{EXTENDS}name: !!python/object/apply:os.system ['touch {CANARY}']\n"
    yield recipe("tag", tagged, "my.yaml:2:name", "tags")
    yield recipe("second document", f"{EXTENDS}---\nhydra: {{}}\n", "my.yaml:2", "a second document")
    yield recipe("key twice", f"{EXTENDS}hydra: {{}}\nhydra: {{mode: RUN}}\n", "my.yaml:3:hydra", "stands twice")
    yield recipe("key of many lines", f"{EXTENDS}? [hydra]\n: 1\n", "my.yaml:2", "a key must be a plain name")
    for name, text in {
        "nothing": "",
        "comment": "# x\n",
        "document": "---\n",
        "null": "null\n",
        "braces": "{}\n",
    }.items():
        yield recipe(f"empty: {name}", text, "my.yaml:1", "the recipe 'my' is empty")


def endless() -> Iterator[Hostile]:
    yield recipe("extends itself", "defaults: [my]\nname: x\n", "my.yaml:1:defaults", "extends itself")
    circle = {"other": "defaults: [my]\nname: y\n"}
    yield recipe(
        "extends in a circle", "defaults: [other]\nname: x\n", "my.yaml:1:defaults", "extends itself", **circle
    )
    tree = {f"t{level}": f"defaults: [t{level + 1}, /recipe/t{level + 1}]\n" for level in range(24)}
    tree["t24"] = "name: x\n"
    yield recipe(
        "extends by doubling", "defaults: [t0]\nname: x\n", "my.yaml:1:defaults", "more than 1000 files", **tree
    )
    yield recipe(
        "blank lines", "\n" * 60_000 + "hydra: {run: {dir: x}}\n", "my.yaml:60001:hydra.run", "not for a recipe"
    )
    yield recipe("deep", f"{EXTENDS}name: {'[' * 9000}\n", "my.yaml:2:name", "nested deeper than 16")
    yield recipe("large", f"{EXTENDS}#{'x' * 70_000}\n", "my.yaml", "larger than 64 KiB")
