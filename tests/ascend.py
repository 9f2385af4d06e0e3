"""A board or card with an Ascend chip, of FAKES: neither a chip nor CANN can be here.

`npu-smi` and `atc` are executables, `amct_onnx` and `acl` modules, that `fake_board` writes. The fake `atc` puts the
files that it is given into one; the fake `acl` computes them with ONNX Runtime on the CPU, behind the arithmetic of
AIPP. They show that every word is said in its place and what comes of it; never what Huawei's tools make of a model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

NPU_SMI = """#!/bin/sh
cat <<'END'
+--------------------------------------------------------------------------------------------------------+
| npu-smi 23.0.rc3                                 Version: 23.0.rc3                                     |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
+===============================+=================+======================================================+
| 0       310B4                 | OK              | 10.4          66                15    / 15           |
| 0       0                     | NA              | 0            957   / 10810                           |
+===============================+=================+======================================================+
END
"""
ATC = """#!{python}
import json, sys, zipfile
words = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
json.dump(words, open({log!r}, "w"))
if words["soc_version"] not in ("Ascend310B4", "Ascend310P1", "Ascend310P3"):
    print("ATC start working now"); print("E10001: Value [" + words["soc_version"] + "] is invalid."); sys.exit(1)
import onnx
from edgecompile.graphs.onnx.fp16_simulation import round_to_half
model = onnx.load(words["model"])
round_to_half(model, everything=True)  # as the device computes
with zipfile.ZipFile(words["output"] + ".om", "w") as file:
    file.writestr("model.onnx", model.SerializeToString())
    file.write(words["insert_op_conf"], "aipp.cfg")
"""
AMCT = """
import shutil
def convert_qat_model(model_file, save_path, record_file=None):
    shutil.copy(model_file, save_path + "_deploy_model.onnx")
"""
ACL = """
import ctypes, zipfile
import numpy as np
from edgecompile.runtime.aipp import read_config
from edgecompile.runtime.backends.aipp import Backend
FLOAT, REPEATED = 0, 100002
kept, models, begun, waiting = {}, {}, [], []
def init():
    begun.append(1)
    return REPEATED if len(begun) > 1 else 0
def create_data_buffer(address, size): return address, size
def made_of(outputs): return outputs
class rt:
    def set_device(device): return 0
    def create_context(device): return 1, 0
    def set_context(context): return 0
    def get_mem_info(attr):
        taken = 64_000_000 * len(models) + sum(len(buffer) for buffer in kept.values())
        return 8_000_000_000 - taken, 8_000_000_000, attr
    def malloc(size, policy):
        buffer = ctypes.create_string_buffer(size)
        kept[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer), 0
    def memcpy(to, most, source, size, direction):
        if size > most: return 107000
        ctypes.memmove(to, source, size)
        return 0
    def create_stream():
        waiting.append([])
        return len(waiting) - 1, 0
    def destroy_stream(stream): return 0
    def free(address):
        del kept[address]
        return 0
    def synchronize_stream(stream):
        while waiting[stream]: mdl.execute(*waiting[stream].pop(0))
        return 0
class Model:
    def __init__(self, files):
        read = read_config(files["aipp.cfg"].decode())
        self.shape = [1, int(read["src_image_size_h"]), int(read["src_image_size_w"]), 3]
        self.backend = Backend(files, {}, 1, {"session.disable_quant_qdq": "1"})
        self.outputs = self.backend.infer(np.zeros(self.shape, np.uint8))
    def run(self, content):
        pixels = np.frombuffer(content, np.uint8).reshape(self.shape)
        return [np.ascontiguousarray(one, np.float32) for one in made_of(self.backend.infer(pixels))]
class mdl:
    def load_from_file(path):
        with zipfile.ZipFile(path) as file:
            models[len(models)] = Model({name: file.read(name) for name in file.namelist()})
        return len(models) - 1, 0
    def create_desc(): return {}
    def get_desc(about, model): about["model"] = models[model]; return 0
    def get_input_size_by_index(about, at): return int(np.prod(about["model"].shape))
    def get_num_outputs(about): return len(about["model"].outputs)
    def get_output_size_by_index(about, at): return 4 * about["model"].outputs[at].size
    def get_output_name_by_index(about, at):
        return "/some/node:%d:%s" % (at, next(iter(about["model"].backend.outputs[at])))
    def get_output_dims(about, at): return {"dims": list(about["model"].outputs[at].shape)}, 0
    def get_output_data_type(about, at): return FLOAT
    def create_dataset(): return []
    def add_dataset_buffer(dataset, buffer): dataset.append(buffer); return dataset, 0
    def execute(model, given, made):
        for one, (address, size) in zip(models[model].run(ctypes.string_at(*given[0])), made):
            ctypes.memmove(address, one.ctypes.data, size)
        return 0
    def execute_async(model, given, made, stream):
        waiting[stream].append((model, given, made))
        return 0
"""


def fake_board(folder: Path, monkeypatch, chip: str = "310B4") -> SimpleNamespace:
    """Puts a board of fakes on the paths of this process and of those that it starts.

    Args:
        chip: as npu-smi names it.

    Returns:
        tools (folder of the programs), site (of the modules), toolkit (what its environment variable names) and log
        (the file into which `atc` writes what it was told).
    """
    tools, site, toolkit = (folder / name for name in ("bin", "site", "toolkit"))
    for one in (tools, site, toolkit / "aarch64-linux"):
        one.mkdir(parents=True)
    log = folder / "atc.json"
    write_program(tools / "npu-smi", NPU_SMI.replace("310B4", chip))
    write_program(tools / "atc", ATC.format(python=sys.executable, log=str(log)))
    (site / "amct_onnx.py").write_text(AMCT)
    (site / "acl.py").write_text(ACL)
    (toolkit / "aarch64-linux/ascend_toolkit_install.info").write_text("package_name=toolkit\nversion=8.0.0\n")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{Path(__file__).parents[1]}")
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(toolkit))
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "acl", raising=False)
    return SimpleNamespace(tools=tools, site=site, log=log, toolkit=toolkit)


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
