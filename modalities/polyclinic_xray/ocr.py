"""Find words by optical character recognition, with the models in the wheel of ``rapidocr``."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_MODELS = {
    "Det.model_path": "PP-OCRv6_det_small.onnx",
    "Cls.model_path": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec.model_path": "PP-OCRv6_rec_small.onnx",
}
_LONGER_SIDE, _SHORTER_SIDE, _MAX_ENLARGEMENT = 1024, 736, 2.0
_MIN_PADDED_SIDE, _CHANNELS = 64, 3
_MIN_CHARACTERS, _MIN_CONFIDENCE = 2, 0.5
_MAX_CANDIDATES = 200


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image; the ends are excluded."""

    top: int
    bottom: int
    left: int
    right: int


def read_words(renderings: Sequence[UInt8[np.ndarray, "H W"]]) -> list[Box]:
    """Return the boxes of text with at least two letters or digits and a confidence of at least one half.

    Each image is reduced to a longer side of 1024 pixels, or enlarged at most twice to a shorter side of 736. Nothing
    is downloaded and no socket is opened. One thread is used.

    Args:
        renderings: one or more renderings of one image. Three at a time are the channels of a colour image, at the
            cost of one: a word in a single channel is a coloured word, which is recognised as well.
    """
    boxes: list[Box] = []
    for first in range(0, len(renderings), _CHANNELS):
        channels = [renderings[min(first + offset, len(renderings) - 1)] for offset in range(_CHANNELS)]
        boxes += _read(channels)
    return boxes


def _read(channels: Sequence[UInt8[np.ndarray, "H W"]]) -> list[Box]:
    height, width = channels[0].shape
    longer, shorter = max(height, width), min(height, width)
    scale = min(_LONGER_SIDE / longer, max(1.0, min(_MAX_ENLARGEMENT, _SHORTER_SIDE / shorter)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = [
        np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
        for levels in channels
    ]
    # The models need sides of a minimum length.
    margins = [(0, max(0, _MIN_PADDED_SIDE - side)) for side in reversed(size)]
    result = _reader()(np.pad(np.stack(resized, axis=-1), (*margins, (0, 0)), mode="edge"))
    if getattr(result, "txts", None) is None:
        return []
    return [
        _box(corners / scale, height, width)
        for corners, text, confidence in zip(result.boxes, result.txts, result.scores, strict=True)
        if confidence >= _MIN_CONFIDENCE and sum(map(str.isalnum, text)) >= _MIN_CHARACTERS
    ]


def _box(corners: np.ndarray, height: int, width: int) -> Box:
    """Return the upright box around four corners [4, 2] of x and y, clipped to the image."""
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    top, left = int(np.clip(top, 0, height - 1)), int(np.clip(left, 0, width - 1))
    return Box(top, int(np.clip(bottom, top + 1, height)), left, int(np.clip(right, left + 1, width)))


@cache
def _reader() -> Any:
    """Load the models once per process."""
    # Imported on first use, because OpenCV and ONNX Runtime take two seconds and only this search needs them.
    import_module("cv2").setNumThreads(1)
    folder = files("rapidocr") / "models"
    settings = {
        # A named file is used directly; without one, the library compares a checksum and may download.
        **{key: str(folder / name) for key, name in _MODELS.items()},
        "Global.log_level": "critical",
        "Global.use_preprocess_img": False,
        "Global.use_vertical_padding": False,
        "Global.text_score": _MIN_CONFIDENCE,
        "Det.limit_type": "max",
        "Det.limit_side_len": _LONGER_SIDE,
        "Det.max_candidates": _MAX_CANDIDATES,
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    return import_module("rapidocr").RapidOCR(params=settings)
