"""The seam between pictures, words and vectors: the `Encoder` protocol.

The two runtimes live in `onnx_encoder` and `torch_encoder`; `encoders` picks and builds one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

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
