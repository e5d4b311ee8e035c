"""The seam between pictures, words and vectors: the `Encoder` protocol.

The two runtimes live in `onnx_encoder` and `torch_encoder`; `encoders` picks and builds one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from indexer.errors import EncoderError

Embeddings = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Maps pictures and sentences into one space, where the dot product is the cosine.

    Attributes:
        id: model, weights and preprocessing, such as ``ViT-B-32-256/datacomp_s34b_b86k``. Two
            encoders with the same id give embeddings that may be compared (cosine >= 0.999).
        dimension: D, the length of an embedding.
        image_size_px: side of the square the image tower sees; decoding below it loses detail.
        logit_scale: what cosines are multiplied with before a softmax over labels.
    """

    @property
    def id(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def image_size_px(self) -> int: ...
    @property
    def logit_scale(self) -> float: ...

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """Returns (N, D) float32, L2-normalised, for N upright RGB images of any size."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Returns (N, D) float32, L2-normalised; long texts are cut to the context length."""
        ...


class LazyEncoder:
    """An encoder that is built when the first picture needs it: a rescan needs no model."""

    def __init__(self, key: str, spec: dict[str, Any], build: Callable[[], Encoder]) -> None:
        self.key = key
        self.spec = spec
        self._build = build
        self._encoder: Encoder | None = None
        self._error: EncoderError | None = None
        self._lock = threading.Lock()

    @property
    def is_built(self) -> bool:
        return self._encoder is not None

    def get(self) -> Encoder:
        """Raises EncoderError, EncoderUnavailable."""
        with self._lock:
            if self._error is not None:  # the other threads need not wait for the hub as well
                raise self._error
            if self._encoder is None:
                try:
                    self._encoder = self._build()
                except EncoderError as error:
                    self._error = error
                    raise
            return self._encoder
