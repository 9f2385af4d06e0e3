"""The embedded model on its own pictures: the way from a file to boxes, against Ultralytics' own parts."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from exported import exported, pictures

import edgecompile.runtime as rt

pytest.importorskip("onnxruntime")


def theirs(image: np.ndarray, session: Any, size: list[int], *, conf: float, multi_label: bool) -> np.ndarray:
    """Returns x1, y1, x2, y2, score, class, by Ultralytics' letterbox, suppression and way back and a bare session."""
    import torch
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import scale_boxes

    placed = LetterBox(tuple(size))(image=image)
    tensor = np.ascontiguousarray(placed[..., ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / 255
    (raw,) = session.run(None, {session.get_inputs()[0].name: tensor})
    (rows,) = non_max_suppression(torch.from_numpy(raw), conf, 0.7, multi_label=multi_label, max_det=300)
    rows[:, :4] = scale_boxes(size, rows[:, :4], image.shape)
    return rows.numpy()


@pytest.mark.parametrize(("conf", "multi_label"), [(0.25, False), (0.001, True)])
def test_boxes_equal_those_of_ultralytics_to_the_last_bit(ultralytics: Any, conf: float, multi_label: bool) -> None:
    import onnxruntime

    model = exported()
    detector = rt.open_artifact(model.model, model.spec, "onnxruntime", {}, 1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model.model), options, providers=["CPUExecutionProvider"])
    objects = 0
    for number, path in enumerate(pictures("test", 6)):
        image = cv2.imread(str(path))
        # other shapes and sizes, so that there are borders to come back from
        image = np.ascontiguousarray(image[:, : 90 + 25 * number]) if number % 2 else cv2.resize(image, (401, 333))
        tensor, geometry = detector.preprocess(image)
        found = detector.postprocess(detector.infer(tensor), geometry, conf=conf, multi_label=multi_label)
        rows = np.column_stack((found.boxes, found.scores, found.classes)).astype(np.float32)
        assert np.array_equal(
            rows, theirs(image, session, detector.spec["letterbox"]["size"], conf=conf, multi_label=multi_label)
        )
        objects += len(found)
    assert objects > 10
