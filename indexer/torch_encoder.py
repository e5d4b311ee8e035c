"""The torch runtime of an encoder: any open_clip architecture, on cuda, mps or cpu.

torch and open_clip take seconds to import, so both are imported inside the builder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from indexer.encoder import Embeddings
from indexer.errors import EncoderError, EncoderUnavailable, UsageError
from indexer.hub import hub_serves
from indexer.onnx_encoder import Resize, fit_square

RANDOM_TAG = "random"
_RANDOM_SEED = 0
_CPU_BATCH = 32
_ACCELERATOR_BATCH = 256
_RESIZES: dict[str, Resize] = {"shortest": "crop", "longest": "pad", "squash": "squash"}

Weights = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an open_clip model wants its pictures: the geometry here, the numbers in the network."""

    size_px: int
    resize: Resize
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TorchEncoder:
    """An `Encoder` around an open_clip model."""

    def __init__(
        self,
        model: Any,
        *,
        id: str,
        preprocessing: Preprocessing,
        tokenizer: Callable[..., Any] | None,
        tokenizer_problem: str,
        device: str,
        weights: Weights,
    ) -> None:
        import torch

        self._torch = torch
        self._id = id
        self.model = model
        self.preprocessing = preprocessing
        self.tokenizer = tokenizer
        self.device = device
        self.weights = weights
        self._tokenizer_problem = tokenizer_problem
        self._dtype = {
            "fp32": torch.float32,
            "bf16": torch.bfloat16,
            "fp16": torch.float16,
        }[weights]
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(preprocessing.mean, device=device).reshape(shape)
        self._std = 255 * torch.tensor(preprocessing.std, device=device).reshape(shape)
        probe = Image.new("RGB", (8, 8), "grey")
        self._dimension = 0
        self._dimension = self.encode_images([probe]).shape[1]

    @property
    def id(self) -> str:
        return self._id

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def image_size_px(self) -> int:
        return self.preprocessing.size_px

    @property
    def logit_scale(self) -> float:
        return float(self.model.logit_scale.detach().float().exp().reshape(-1)[0])

    @property
    def context_length(self) -> int:
        return int(self.model.context_length)

    def encode_images(self, images: Sequence[Image.Image]) -> Embeddings:
        """Returns (N, D) float32, L2-normalised. Raises EncoderError."""
        return self._encode(images, self._encode_pixels)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Returns (N, D) float32, L2-normalised. Raises EncoderError, EncoderUnavailable."""
        return self._encode(texts, self._encode_words)

    def tokenize(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Returns (N, T) int64 token ids, padded to the context length."""
        if self.tokenizer is None:
            raise EncoderUnavailable(self._tokenizer_problem)
        tokens = self.tokenizer(list(texts), context_length=self.context_length)
        return np.asarray(tokens, dtype=np.int64)

    def _encode_pixels(self, images: Sequence[Image.Image]) -> Any:
        fitted = [
            fit_square(
                image,
                size_px=self.preprocessing.size_px,
                resize=self.preprocessing.resize,
                interpolation=self.preprocessing.interpolation,
            )
            for image in images
        ]
        pixels = self._torch.from_numpy(np.stack(fitted)).to(self.device)  # [N, S, S, 3]
        inputs = (pixels.permute(0, 3, 1, 2).float() - self._mean) / self._std  # [N, 3, S, S]
        return self.model.encode_image(inputs.to(self._dtype))

    def _encode_words(self, texts: Sequence[str]) -> Any:
        tokens = self._torch.from_numpy(self.tokenize(texts)).to(self.device)
        return self.model.encode_text(tokens)

    def _encode(self, items: Sequence[Any], run: Callable[[Sequence[Any]], Any]) -> Embeddings:
        size = _CPU_BATCH if self.device == "cpu" else _ACCELERATOR_BATCH
        rows: list[Embeddings] = []
        for start in range(0, len(items), size):
            with self._torch.inference_mode():
                try:
                    features = run(items[start : start + size]).float()  # [N, D]
                except RuntimeError as error:
                    raise EncoderError(f"{self.id} failed on {self.device}: {error}") from error
                normalised = self._torch.nn.functional.normalize(features, dim=-1)
            rows.append(normalised.cpu().numpy())
        if not rows:
            return np.zeros((0, self.dimension), np.float32)
        embeddings = np.concatenate(rows)
        if not np.isfinite(embeddings).all():
            raise EncoderError(
                f"{self.id} gave embeddings that are not finite numbers on {self.device}."
            )
        return embeddings


def build_torch_encoder(
    architecture: str,
    tag: str,
    *,
    id: str,
    checkpoint: Path | None = None,
    device: str = "auto",
    weights: Weights | None = None,
    threads: int | None = None,
) -> TorchEncoder:
    """Builds an open_clip model, downloading the weights of `tag` where they are not cached.

    Args:
        tag: of open_clip's list, or ``random`` for random weights from a fixed seed, which serve
            to measure speed and nothing else.
        checkpoint: a weights file for this architecture, used in place of the tag's download; the
            tag still says how pictures are prepared.
        weights: number format; None takes fp16 on cuda, and bf16 on CPUs that are faster with it.

    Raises EncoderError, EncoderUnavailable.
    """
    import torch

    device = choose_device(device)
    if threads and device == "cpu":
        torch.set_num_threads(threads)
    formats = [weights] if weights else _formats_worth_trying(device)
    tokenizer, problem = _load_tokenizer(architecture)
    for number_format in formats:
        model, preprocessing = _create_model(
            architecture, tag, checkpoint=checkpoint, device=device, weights=number_format
        )
        try:
            return TorchEncoder(
                model,
                id=id,
                preprocessing=preprocessing,
                tokenizer=tokenizer,
                tokenizer_problem=problem,
                device=device,
                weights=number_format,
            )
        except EncoderError:  # a layer that does not run, or overflows, in the short format
            if number_format == formats[-1]:
                raise
    raise AssertionError("no number format left to try")


def choose_device(device: str) -> str:
    """Returns cuda, mps or cpu. Raises UsageError where the device asked for is not there."""
    import torch

    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, here in present.items() if here)
    if not present.get(device, False):
        here = ", ".join(name for name, is_here in present.items() if is_here)
        raise UsageError(
            f"torch {torch.__version__} sees no device {device!r} here; it has {here}."
        )
    return device


def bf16_is_faster() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones.

    The CPU's flags are asked first: without them torch emulates, and takes minutes for a batch
    (measured on an AMD EPYC with AVX2 only).
    """
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    flags = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16", "sve_bf16")
    if not any(capabilities.get(flag) for flag in flags):
        return False
    seconds = {dtype: _matrix_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.bfloat16] < 0.9 * seconds[torch.float32]


def _matrix_seconds(dtype: Any) -> float:
    import torch

    left, right = torch.ones(512, 768, dtype=dtype), torch.ones(768, 3072, dtype=dtype)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return best


def _formats_worth_trying(device: str) -> list[Weights]:
    if device == "cuda":
        return ["fp16", "fp32"]
    if device == "cpu" and bf16_is_faster():
        return ["bf16", "fp32"]
    return ["fp32"]


def _create_model(
    architecture: str, tag: str, *, checkpoint: Path | None, device: str, weights: Weights
) -> tuple[Any, Preprocessing]:
    import open_clip
    import torch
    from open_clip.pretrained import get_pretrained_cfg

    published = get_pretrained_cfg(architecture, tag)
    preprocessing = {
        key: published[key]
        for key in ("mean", "std", "interpolation", "resize_mode")
        if key in published
    }
    source: str | None = str(checkpoint) if checkpoint else tag
    if tag == RANDOM_TAG and not checkpoint:
        source = None
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        try:
            model = open_clip.create_model(
                architecture,
                pretrained=source,
                precision=weights,
                device=device,
                # open_clip warns and then builds the wrong activation for OpenAI's weights
                force_quick_gelu=bool(published.get("quick_gelu")),
                force_preprocess_cfg=preprocessing,
                pretrained_text=False,
            )
        except Exception as error:  # open_clip, torch and the hub each have errors of their own
            raise _creation_error(error, architecture, tag, checkpoint) from error
    model.eval().requires_grad_(False)
    if architecture.startswith("MobileCLIP"):  # trained with branches that fold into one
        from timm.utils.model import reparameterize_model

        model = reparameterize_model(model, inplace=True)
    return model, _preprocessing(architecture, model.visual.preprocess_cfg)


def _creation_error(
    error: Exception, architecture: str, tag: str, checkpoint: Path | None
) -> EncoderError:
    reason = " ".join(str(error).split())[:400]
    if checkpoint:
        return EncoderError(
            f"{checkpoint} cannot be loaded as weights of {architecture}: {reason}. It takes the "
            "file that open_clip publishes for this architecture (.safetensors, .bin or .pt)."
        )
    if tag == RANDOM_TAG:
        return EncoderError(f"open_clip cannot build {architecture}: {reason}")
    return EncoderUnavailable(f"The weights of {architecture}/{tag} cannot be had: {reason}")


def _preprocessing(architecture: str, config: dict[str, Any]) -> Preprocessing:
    size = config["size"]
    width, height = (size, size) if isinstance(size, int) else size
    if width != height:
        raise EncoderError(f"{architecture} takes pictures of {width} x {height}, not squares.")
    return Preprocessing(
        size_px=int(width),
        resize=_RESIZES[config["resize_mode"]],
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _load_tokenizer(architecture: str) -> tuple[Callable[..., Any] | None, str]:
    import open_clip

    config = open_clip.get_model_config(architecture) or {}
    source = config.get("text_cfg", {}).get("hf_tokenizer_name")
    if not source:
        return open_clip.get_tokenizer(architecture), ""
    with quiet():
        try:
            return open_clip.get_tokenizer(architecture, local_files_only=True), ""
        except Exception as error:  # transformers and the hub each have errors of their own
            reason = error
        # asked first, because the libraries' own tries go on for a minute
        if hub_serves(source, ("tokenizer_config.json",)):
            try:
                return open_clip.get_tokenizer(architecture), ""
            except Exception as error:
                reason = error
    short = str(reason).strip().split("\n")[0][:200]
    return None, (
        f"{architecture} needs a tokenizer that open_clip fetches from "
        f"https://huggingface.co/{source}, which cannot be had now ({short}). Pictures can be "
        "encoded, texts cannot. Run the command again with a network, once."
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps libraries that log to the root logger from printing."""
    # open_clip logs to the root logger, which prints by itself while it has no handler
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
