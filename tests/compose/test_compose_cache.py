"""A job is composed once, and what its job is given equals what Hydra alone would give it."""

from __future__ import annotations

import contextlib
import sys

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from edgecompile.compose.compose_cache import Loader, composed_once
from edgecompile.compose.composition import compose, given_overrides, set_up, trace
from edgecompile.places import conf_folder
from edgecompile.recipe.locate import PRIMARY


@pytest.fixture
def compositions(monkeypatch):
    """Counts how often Hydra composes, and how often it looks for what to merge alone."""
    counted = {"configs": 0, "lists": 0}
    load, look = ConfigLoaderImpl._load_configuration_impl, ConfigLoaderImpl.compute_defaults_list

    def counting(key, function):
        def counts(*args, **options):
            counted[key] += 1
            return function(*args, **options)

        return counts

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counting("configs", load))
    monkeypatch.setattr(ConfigLoaderImpl, "compute_defaults_list", counting("lists", look))
    return counted


def composed(words, monkeypatch, tmp_path, once):
    """Returns all that a job of these words is given, and the files that it was merged from."""
    found = []

    def job(config):
        whole = OmegaConf.to_container(HydraConfig.instance().cfg, resolve=False)
        for changing in ("run", "runtime"):
            whole["hydra"][changing].pop("output_dir", None)
        origins, notes = trace(GlobalHydra.instance().config_loader(), given_overrides())
        found.append((OmegaConf.to_container(config), whole, origins.layers, origins.recipe, notes))

    set_up()
    monkeypatch.setattr(sys, "argv", ["edgecompile", *words, f"hydra.run.dir='{tmp_path}'"])
    with composed_once() if once else contextlib.nullcontext():
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=PRIMARY)(job)()
    return found


@pytest.mark.parametrize(
    "words",
    [
        ["recipe=quickstart"],
        ["recipe=x86-cpu_openvino_int8", "model=yolo26n", "++model.imgsz=320", "hydra.job.name=one"],
        ["recipe=raspberry-pi-5_ncnn_fp16", "hydra.mode=RUN"],
    ],
)
def test_equals_what_hydra_gives(words, monkeypatch, tmp_path, compositions):
    alone = composed(words, monkeypatch, tmp_path, once=False)
    assert compositions == {"configs": 2, "lists": 1}
    compositions.update(configs=0, lists=0)
    assert composed(words, monkeypatch, tmp_path, once=True) == alone
    assert compositions == {"configs": 1, "lists": 0}


@pytest.mark.slow
def test_each_job_of_a_sweep_is_given_its_own(monkeypatch, tmp_path):
    words = ["-m", "recipe=quickstart,x86-cpu_openvino_int8", "++model.imgsz=64,96", f"hydra.sweep.dir='{tmp_path}'"]
    assert composed(words, monkeypatch, tmp_path, once=True) == composed(words, monkeypatch, tmp_path, once=False)


def test_what_was_composed_last_is_only_told_of_its_own_overrides(monkeypatch, tmp_path):
    composed(["recipe=quickstart"], monkeypatch, tmp_path, once=True)
    assert Loader.merged(["recipe=quickstart", "hydra.mode=RUN", f"hydra.run.dir='{tmp_path}'"])
    assert Loader.merged(["recipe=other"]) is None


def test_a_recipe_of_the_same_name_elsewhere_is_told_apart(monkeypatch, tmp_path):
    for folder, base in (("recipes", "quickstart"), ("other", "x86-cpu_openvino_int8")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my.yaml").write_text(f"defaults: [{base}]\n")
    monkeypatch.chdir(tmp_path)
    composed(["recipe=my"], monkeypatch, tmp_path, once=True)
    recipe = compose(str(tmp_path / "other/my.yaml"), f"hydra.run.dir='{tmp_path}'")  # the same overrides
    assert recipe.origins.of("target", "kind").file.stem == "x86-cpu_openvino"
