"""Bundles as a stranger could make them: each is a change to one small good bundle, sealed again.

A case is a function of the good bundle's members and manifest that returns the bytes of the hostile one.
"""

from __future__ import annotations

import json
import struct
import zipfile
from typing import Any

import numpy as np

from .hostile_changes import (
    Case,
    array,
    attributes,
    claimed,
    from_the_opset_of_python,
    giving_a_list,
    giving_one_number,
    giving_words,
    model,
    of_a_foreign_domain,
    other_end,
    renamed,
    taking_nothing,
    taking_two,
    taking_words,
    with_bias,
    with_bytes,
    with_document,
    with_files,
    with_golden,
    with_ir,
    with_layers,
    with_manifest,
    with_members,
    with_model,
    with_option,
    with_spec,
    with_target,
    with_zip,
)
from .test_self_contained import IR, PLACES, changed
from .tiny import bundled, tiny_manifest, tiny_onnx, tiny_spec

BOMB = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    + struct.pack(">II", 60000, 60000)
    + b"\x08\x02\0\0\0"
    + bytes(64)
    + b"IEND\xaeB`\x82"
)
DEEP = b"[" * 100_000 + b"]" * 100_000
GOLDEN = tiny_manifest()["golden"]


def golden(**changes: Any) -> Case:
    return with_manifest(lambda manifest: manifest.update(golden={**GOLDEN, **changes}))


REFUSED: dict[str, Case] = {
    # what a bundle may ask of a library
    "option writes a model": with_option("optimized_model_filepath", "CANARY"),
    "option writes a profile": with_option("profile_file_prefix", "CANARY"),
    "option profiles": with_option("enable_profiling", True),
    "option of threads": with_option("intra_op_num_threads", 20000),
    "option of a folder of weights": with_option("session.model_external_initializers_file_folder_path", "/etc"),
    "option of a format": with_option("session.load_model_format", "ORT"),
    "option of a context file": with_option("ep.context_file_path", "CANARY"),
    "option of a plugin": with_option("session.custom_ops_library", "./evil.so"),
    "option of another type": with_option("enable_mem_pattern", "yes"),
    "option of another name": with_option("graph_optimization_level", "ORT_RUN_SHELL"),
    "options in a list": with_target(options=[["a", 1]]),
    "options that are none": with_target(options=None),
    "openvino writes a cache": with_option("CACHE_DIR", "CANARY", "openvino"),
    "openvino reads a configuration": with_option("CONFIG_FILE", "/etc/passwd", "openvino"),
    "openvino reads weights": with_option("WEIGHTS_PATH", "/etc/passwd", "openvino"),
    "openvino loads a plugin": with_option("DEVICE", "./evil.so", "openvino"),
    "openvino of many streams": with_option("NUM_STREAMS", 10**6, "openvino"),
    "openvino caches by device": with_option("DEVICE_PROPERTIES", {"CPU": {"CACHE_DIR": "CANARY"}}, "openvino"),
    "environment of onednn": with_option("ONEDNN_JIT_DUMP", "1", "openvino"),
    "environment of the linker": with_option("LD_PRELOAD", "./evil.so", "openvino"),
    "ncnn takes vulkan": with_option("use_vulkan_compute", True, "ncnn"),
    "ncnn of many threads": with_option("num_threads", 20000, "ncnn"),
    # threads and other facts of the target
    "threads below nothing": with_target(threads=-5),
    "threads without end": with_target(threads=20000),
    "threads that are true": with_target(threads=True),
    "threads of 30 digits": with_target(threads=10**30),
    "threads in words": with_target(threads="2"),
    "backend by a path": with_target("../../errors", runtime=["onnxruntime", ">=1"]),
    "backend by a dotted name": with_target("os.path", runtime=["onnxruntime", ">=1"]),
    "backend with a line end": with_target("onnxruntime\n", runtime=["onnxruntime", ">=1"]),
    "backend that is none": with_target("__init__", runtime=["onnxruntime", ">=1"]),
    "backend in a list": with_manifest(lambda manifest: manifest["target"].update(backend=["onnxruntime"])),
    "pip option as distribution": with_target(runtime=["--index-url=http://127.0.0.1:9/", ""]),
    "pip address as distribution": with_target(runtime=["git+https://127.0.0.1/evil", ""]),
    "distribution of a stranger": with_target(runtime=["evil-package", ">=1"]),
    "shell in a version range": with_target(runtime=["onnxruntime", ">=1'; touch CANARY; '"]),
    "built by who builds nothing": with_target(finalize=True),
    "constraints of another form": with_target(constraints={"a/../b": {}}),
    "no target": with_manifest(lambda manifest: manifest.pop("target")),
    # files that a model reads
    **{f"external data: {place}": with_model(changed(change)) for place, change in PLACES.items()},
    "external data that is in the bundle": with_members(
        artifact__model_dot_onnx=changed(PLACES["initializer below the working directory"]),
        artifact__x_dot_bin=bytes(4),
    ),
    "format of onnxruntime": with_model(b"\x08\x09\x12\x04ORTM" + tiny_onnx()[2:]),
    "format of tensorflow lite": with_model(b"\x08\x09\x12\x04TFL3" + tiny_onnx()[2:]),
    "xml under the name of onnx": with_model(IR.encode()),
    "half a model": with_model(tiny_onnx()[:-50]),
    "no model": with_model(b""),
    "two models": with_members(artifact__other_dot_onnx=tiny_onnx()),
    "model left out": with_members(artifact__model_dot_onnx=None),
    "ir with a document type": with_ir("<net ", '<!DOCTYPE net SYSTEM "file:///etc/passwd"><net '),
    "ir with an entity": with_ir("<net ", '<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net '),
    "ir that names weights": with_ir("<MO_version ", '<__weights_path value="/etc/passwd"/><MO_version '),
    "ir with options": with_ir("<MO_version ", "<runtime_options><A value='1'/></runtime_options><MO_version "),
    "ir that reads beyond": with_ir('size="8"', 'size="9"'),
    "ir that reads before": with_ir('offset="0"', 'offset="18446744073709551608"'),
    "ir without weights": with_ir('version="11"', 'version="11"', b""),
    "ir within ir": with_ir("<edges/>", "<edges>" + "<x>" * 5000 + "</x>" * 5000 + "</edges>"),
    "ir of no layers that run": with_ir('type="Const"', 'type="RunShell"'),
    "ncnn counts layers": with_layers("3 3", "1000000000 3"),
    "ncnn counts blobs": with_layers("3 3", "3 1"),
    "ncnn counts values": with_layers("-23303=2,1.5", "-23303=2000000000,1.5"),
    "ncnn names a library": with_layers("ReLU", "../../evil.so"),
    # models that are other than they say
    "operator of a stranger": with_model(model(of_a_foreign_domain)),
    "operator that is python": with_model(model(from_the_opset_of_python)),
    "tensor of 1000 dimensions": with_model(with_bias(*[1 << 40] * 1000)),
    "tensor of negative size": with_model(with_bias(1, -5)),
    "tensor that promises much": with_model(with_bias(1, 1 << 36)),
    "output of words": with_model(model(giving_words)),
    "output of a list": with_model(model(giving_a_list)),
    "output of one number": with_model(model(giving_one_number)),
    "output of one number, as its golden output": with_members(
        artifact__model_dot_onnx=model(giving_one_number), golden__output_0_dot_npy=array(np.float32(7))
    ),
    "input of words": with_model(model(taking_words)),
    "two inputs": with_model(model(taking_two)),
    "no input": with_model(model(taking_nothing)),
    # numbers of spec.json
    "batch without end": with_spec("input.shape", [10**9, 3, 64, 96]),
    "batch of 30 digits": with_spec("input.shape", [10**30, 3, 64, 96]),
    "batch below nothing": with_spec("input.shape", [-7, 3, 64, 96]),
    "side without end": with_members(
        spec_dot_json=json.dumps(
            {
                **tiny_spec(),
                "input": {**tiny_spec()["input"], "shape": [1, 3, 10**9, 10**9]},
                "letterbox": {**tiny_spec()["letterbox"], "size": [10**9, 10**9]},
            }
        ).encode()
    ),
    "profile without end": with_spec(
        "input",
        {
            **tiny_spec()["input"],
            "shape": [-1, 3, -1, -1],
            "profile": {"min": [1, 3, 64, 96], "opt": [1, 3, 64, 96], "max": [16384, 3, 16384, 16384]},
        },
    ),
    "profile of words": with_spec("input.profile", {"min": "a", "opt": [], "max": None}),
    "scale of 400 digits": with_spec("input.scale", 10**400),
    "type of objects": with_spec("input.dtype", "object"),
    "layout in a list": with_spec("input.layout", ["NCHW"]),
    "boxes without end": with_spec("nms.max_det", 10**30),
    "scores below nothing": with_spec("nms.conf", -1e300),
    "names in a number": with_spec("names", 7),
    "names of names": with_spec("names", [[[["x"]]]]),
    "spec in a list": with_members(spec_dot_json=b"[1, 2]"),
    "spec without end": with_members(spec_dot_json=DEEP),
    "spec of infinity": with_members(spec_dot_json=b'{"schema": 1e999}'),
    "spec left out": with_members(spec_dot_json=None),
    # the zip
    "member that is a link": with_zip(attributes(0o120777)),
    "member that is a folder": with_zip(attributes(0o040755, 0x10)),
    "member that is a device": with_zip(attributes(0o020666)),
    "member that runs as its owner": with_zip(attributes(0o104755)),
    "member of another system": with_zip(attributes(0o100644, system=0)),
    "manifest that is a link": with_zip(attributes(0o120777), "manifest.json"),
    "member that is packed": with_zip(lambda entry: setattr(entry, "compress_type", zipfile.ZIP_DEFLATED)),
    "member with an extra field": with_zip(lambda entry: setattr(entry, "extra", b"\x75\x70\x06\0\x01abcde")),
    "member with a remark": with_zip(lambda entry: setattr(entry, "comment", b"x")),
    "member above": renamed("../x"),
    "member of the root": renamed("/etc/x"),
    "member of another drive": renamed("C:\\x"),
    "member that is hidden": renamed(".bashrc"),
    "member with a line end": renamed("a\nb"),
    "bytes before": with_bytes(lambda raw: b"#!/bin/sh\n" + raw),
    "bytes between": with_bytes(lambda raw: raw[:-22] + b"hidden" + raw[-22:]),
    "count of members": with_bytes(lambda raw: raw[:-14] + b"\xff\xff\xff\xff" + raw[-10:]),
    "half a bundle": lambda members: bundled(members, tiny_manifest())[:-900],
    "another seal": lambda members: other_end(bundled(members, tiny_manifest())),
    # the manifest
    "manifest that is none": with_document(b"hello"),
    "manifest in a list": with_document(b"[]"),
    "manifest without end": with_document(DEEP),
    "manifest of infinity": with_document(b'{"schema": 1, "format": "edgecompile-bundle", "files": 1e999}'),
    "manifest of digits": with_document(b'{"schema": ' + b"1" * 10**6 + b"}"),
    "manifest twice": with_document(b'{"schema": 1, "schema": 1}'),
    "manifest of 9 MB": with_document(b"[" + b"[]," * (3 << 20) + b"[]]"),
    "manifest of another schema": with_manifest(lambda manifest: manifest.update(schema=2)),
    "files in a list": with_document(b'{"schema": 1, "format": "edgecompile-bundle", "files": []}'),
    "file left out": with_files(lambda files: files.pop("spec.json")),
    "file too many": with_files(lambda files: files.update(x={"sha256": "0" * 64, "size": 0})),
    "file of another digest": with_files(lambda files: files["spec.json"].update(sha256="0" * 64)),
    "file of another size": with_files(lambda files: files["spec.json"].update(size=10**12)),
    "file of a true size": with_files(lambda files: files["spec.json"].update(size=True)),
    # golden vectors: `predict` needs none of them
    "golden array that claims": with_golden(
        "output_0.npy", claimed("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }")
    ),
    "golden array of objects": with_golden(
        "output_0.npy", claimed("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"\x80\x04N."
    ),
    "golden array of code": with_golden("output_0.npy", claimed("{'descr': __import__('os').system('touch CANARY')}")),
    "golden array within brackets": with_golden("output_0.npy", claimed("(" * 9000)),
    "golden array of another version": with_golden("output_0.npy", claimed("{}", b"\x09\x00")),
    "golden array of words": with_golden("output_0.npy", array(np.array([["x"]]))),
    "golden array of records": with_golden("output_0.npy", array(np.zeros(3, [("a", "f4")]))),
    "golden array that is a pickle": with_golden("output_0.npy", b"\x80\x04cos\nsystem\n."),
    "golden array of another shape": with_golden("output_0.npy", array(np.zeros((3, 7), np.float32))),
    "golden array of nothing": with_golden("output_0.npy", array(np.zeros((0, 7, 21), np.float32))),
    "golden array of no number": with_golden("output_0.npy", array(np.full((1, 7, 21), np.nan, np.float32))),
    "golden picture that is a bomb": with_golden("input.png", BOMB),
    "golden picture that is none": with_golden("input.png", b"<svg/>"),
    "golden boxes of 30 digits": with_golden("result.json", b'{"boxes": [], "scores": [], "classes": [%d]}' % 10**30),
    "golden boxes that miscount": with_golden(
        "result.json", b'{"boxes": [[1, 2, 3, 4], [1, 2, 3, 4]], "scores": [0.5], "classes": [0]}'
    ),
    "golden boxes within boxes": with_golden("result.json", b'{"boxes": %s, "scores": [], "classes": []}' % DEEP),
    "golden scores in a number": with_golden("result.json", b'{"boxes": [], "scores": 5, "classes": []}'),
    "golden boxes in words": with_golden("result.json", b'{"boxes": "x", "scores": "y", "classes": "z"}'),
    "golden tolerance without end": golden(tolerance={"max_abs": 1e300, "min_cosine": 0}),
    "golden tolerance below nothing": golden(tolerance={"max_abs": -1, "min_cosine": 0.9}),
    "golden tolerance in words": golden(tolerance={"max_abs": "1", "min_cosine": "1"}),
    "golden picture elsewhere": golden(input="../../etc/passwd"),
    "golden picture in a list": golden(input=["golden/input.png"]),
    "golden outputs that are none": golden(outputs=[]),
    "golden outputs in a number": golden(outputs=7),
    "golden outputs twice": golden(outputs=["golden/output_0.npy"] * 2),
    "golden output that is the model": golden(outputs=["artifact/model.onnx"]),
    "golden limits of no profile": golden(limits={"min": GOLDEN, "max": GOLDEN}),
    "golden limits in a list": golden(limits=[GOLDEN]),
    "golden in a list": with_manifest(lambda manifest: manifest.update(golden=[1])),
}
"""Name of a case to how it is made. Each is refused by `verify` with exit code 7."""
