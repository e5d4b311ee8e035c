"""The ONNX runtime of an encoder: a folder with two networks and a tokenizer, without torch.

Serves the `starter` inside the package and every encoder that `export` has prepared.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import string
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from indexer.encoder import Embeddings
from indexer.errors import EncoderError

CARD_FILE = "encoder.json"
IMAGE_FILE = "image.onnx"
TEXT_FILE = "text.onnx"
TOKENIZER_FILE = "tokenizer.json"

# bounds the activations' memory whatever a caller hands over at once
_IMAGES_A_RUN = 32
_TEXTS_A_RUN = 64
# shrinks by whole numbers first, then resamples: cosine > 0.9999 against the plain resize
_REDUCING_GAP = 3.0

Resize = Literal["squash", "crop", "pad"]
Clean = Literal["none", "whitespace", "lower", "canonicalize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCard:
    """`encoder.json`: what the two networks of a folder expect, and where they came from."""

    name: str
    revision: str
    dimension: int
    image_size_px: int
    resize: Resize
    interpolation: Literal["bicubic", "bilinear"]
    context_length: int
    pad_id: int
    logit_scale: float
    sha256: dict[str, str]
    id: str = ""  # "" is NAME/REVISION
    precision: str = "fp32"
    fixed_length: bool = False  # pads to the context length, not to the longest of a batch
    clean: Clean = "none"
    # token ids that the architecture wants replaced after tokenizing, as pairs
    replace_tokens: list[list[int]] = field(default_factory=list)
    checks: dict[str, float] = field(default_factory=dict)  # cosines against torch at the export


class OnnxEncoder:
    """An `Encoder` on ONNX Runtime; each network is loaded when it is first asked for."""

    def __init__(self, folder: Path, card: EncoderCard, *, threads: int, mend: str) -> None:
        self.card = card
        self._folder = folder
        self._threads = threads
        self._mend = mend
        self._lock = threading.Lock()
        self._sessions: dict[str, Any] = {}
        self._tokenizer: Any = None

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None, mend: str = "") -> OnnxEncoder:
        """Opens an encoder folder; the networks themselves are read at the first use.

        `mend` is the sentence an error ends with when a file is damaged or missing.
        Raises EncoderError.
        """
        folder = Path(folder)
        mend = mend or f"Delete {folder} and run the command again; it will be prepared anew."
        return cls(
            folder, read_card(folder, mend=mend), threads=threads or available_cores(), mend=mend
        )

    @property
    def id(self) -> str:
        return self.card.id or f"{self.card.name}/{self.card.revision}"

    @property
    def dimension(self) -> int:
        return self.card.dimension

    @property
    def image_size_px(self) -> int:
        return self.card.image_size_px

    @property
    def logit_scale(self) -> float:
        return self.card.logit_scale

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """Returns (N, D) float32, L2-normalised. Raises EncoderError."""
        batches = [
            self._run(IMAGE_FILE, "pixels", self.preprocess(batch))
            for batch in _batched(images, _IMAGES_A_RUN)
        ]
        return self._stack(batches)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Returns (N, D) float32, L2-normalised. Raises EncoderError."""
        batches = [
            self._run(TEXT_FILE, "tokens", self.tokenize(batch))
            for batch in _batched(texts, _TEXTS_A_RUN)
        ]
        return self._stack(batches)

    def preprocess(self, images: Sequence[Image.Image]) -> npt.NDArray[np.uint8]:
        """Returns (N, S, S, 3) uint8 RGB; the network itself normalises."""
        pixels = np.empty((len(images), self.image_size_px, self.image_size_px, 3), np.uint8)
        for row, image in enumerate(images):
            pixels[row] = fit_square(
                image,
                size_px=self.image_size_px,
                resize=self.card.resize,
                interpolation=self.card.interpolation,
            )
        return pixels

    def tokenize(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Returns (N, T) int64 token ids, T at most the context length."""
        tokenizer = self._open_tokenizer()
        encodings = tokenizer.encode_batch([clean_text(text, self.card.clean) for text in texts])
        tokens = np.array([encoding.ids for encoding in encodings], dtype=np.int64)  # [N, T]
        for before, after in self.card.replace_tokens:
            tokens[tokens == before] = after
        return tokens

    def _stack(self, batches: list[Embeddings]) -> Embeddings:
        if not batches:
            return np.zeros((0, self.dimension), np.float32)
        return np.concatenate(batches) if len(batches) > 1 else batches[0]

    def _run(self, file: str, name: str, array: npt.NDArray[Any]) -> Embeddings:
        session = self._open_session(file)
        try:
            (raw,) = session.run(["embeddings"], {name: array})
        except Exception as error:  # onnxruntime's errors share no base class but this
            raise EncoderError(f"{self.id} failed in {file}: {error}") from error
        embeddings = np.asarray(raw, dtype=np.float32)  # [N, D]
        if embeddings.shape != (len(array), self.dimension):
            raise EncoderError(
                f"{self._folder / file} gives embeddings of shape {embeddings.shape} where"
                f" {CARD_FILE} promises {(len(array), self.dimension)}. {self._mend}"
            )
        if not np.isfinite(embeddings).all():
            raise EncoderError(f"{self.id} gave embeddings that are not finite numbers ({file}).")
        return embeddings

    def _open_session(self, file: str) -> Any:
        with self._lock:
            if file not in self._sessions:
                self._check_files(file)
                self._sessions[file] = self._load_session(file)
            return self._sessions[file]

    def _load_session(self, file: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(
                str(self._folder / file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base class but this
            raise EncoderError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {self._folder / file}:"
                f" {error}. {self._mend}"
            ) from error

    def _open_tokenizer(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                self._check_files(TOKENIZER_FILE)
                self._tokenizer = self._load_tokenizer()
            return self._tokenizer

    def _load_tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        path = self._folder / TOKENIZER_FILE
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises a bare Exception
            raise EncoderError(f"{path} is no tokenizer: {error}. {self._mend}") from error
        length = self.card.context_length
        tokenizer.enable_truncation(max_length=length)
        tokenizer.enable_padding(
            pad_id=self.card.pad_id, length=length if self.card.fixed_length else None
        )
        return tokenizer

    def _check_files(self, file: str) -> None:
        # a flipped bit in the weights loads silently and ranks nonsense, so hash before use
        for name, expected in self.card.sha256.items():
            if name == file or name.startswith(f"{file}."):  # image.onnx, image.onnx.data
                actual = _sha256(self._folder / name, mend=self._mend)
                if actual != expected:
                    raise EncoderError(f"{self._folder / name} is damaged. {self._mend}")


def read_card(folder: Path, *, mend: str = "") -> EncoderCard:
    """Returns what `encoder.json` says. Raises EncoderError."""
    path = folder / CARD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EncoderError(f"Cannot read {path}: {error.strerror}. {mend}".strip()) from error
    except ValueError as error:
        raise EncoderError(f"{path} is damaged: {error}. {mend}".strip()) from error
    known = EncoderCard.__dataclass_fields__
    try:
        card = EncoderCard(**{key: value for key, value in content.items() if key in known})
    except (TypeError, AttributeError) as error:
        raise EncoderError(f"{path} is incomplete: {error}. {mend}".strip()) from error
    missing = [
        name
        for name in (IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE)
        if name not in card.sha256 or not (folder / name).is_file()
    ]
    if missing:
        raise EncoderError(f"{folder} lacks {', '.join(missing)}. {mend}".strip())
    return card


def fit_square(
    image: Image.Image,
    *,
    size_px: int,
    resize: Resize = "crop",
    interpolation: Literal["bicubic", "bilinear"] = "bicubic",
) -> npt.NDArray[np.uint8]:
    """Returns (S, S, 3) uint8 RGB: open_clip's resize, crop and padding in one resampling.

    Source: open_clip.transform.image_transform (cosine of the embeddings >= 0.999).
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    sampling = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    width, height = image.size
    target, box = (size_px, size_px), (0.0, 0.0, float(width), float(height))
    if resize == "crop":
        short = min(width, height)
        scaled_width, scaled_height = size_px * width // short, size_px * height // short
        left, top = round((scaled_width - size_px) / 2), round((scaled_height - size_px) / 2)
        box = (
            left * width / scaled_width,
            top * height / scaled_height,
            (left + size_px) * width / scaled_width,
            (top + size_px) * height / scaled_height,
        )
    elif resize == "pad":
        ratio = max(width, height) / size_px
        target = (max(1, round(width / ratio)), max(1, round(height / ratio)))
    resized = image.resize(target, sampling, box=box, reducing_gap=_REDUCING_GAP)
    if resized.size == (size_px, size_px):
        return np.asarray(resized)
    square = np.zeros((size_px, size_px, 3), np.uint8)
    left, top = (size_px - resized.width) // 2, (size_px - resized.height) // 2
    square[top : top + resized.height, left : left + resized.width] = np.asarray(resized)
    return square


def clean_text(text: str, clean: Clean) -> str:
    """Returns the text as open_clip's tokenizers clean it. Source: open_clip.tokenizer."""
    if clean == "none":
        return text
    if "&" in text or not (text.isascii() and text.isprintable()):
        import ftfy  # takes 60 ms to import, and changes nothing in plain ASCII

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if clean == "canonicalize":
        text = text.replace("_", " ").translate(_NO_PUNCTUATION)
    text = " ".join(text.split())
    return text if clean == "whitespace" else text.lower()


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def available_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _sha256(path: Path, *, mend: str) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"Cannot read {path}: {error.strerror}. {mend}".strip()) from error


def _batched(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
