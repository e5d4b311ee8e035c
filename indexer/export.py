"""Turns an open_clip model into a folder for ONNX Runtime, once, checked against torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from PIL import Image

from indexer.encoder import Embeddings
from indexer.errors import EncoderError
from indexer.export_tokenizer import save_tokenizer
from indexer.onnx_encoder import (
    CARD_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    EncoderCard,
    OnnxEncoder,
)
from indexer.torch_encoder import TorchEncoder, quiet

Precision = Literal["fp32", "int8"]

MINIMAL_COSINE: dict[Precision, float] = {"fp32": 0.999, "int8": 0.98}
# protobuf holds 2 GiB; a larger network keeps its weights in a file of its own
_PROTOBUF_LIMIT_BYTES = 1_800_000_000

CHECK_TEXTS = (
    "a photo of a dog on the beach",
    "Two PEOPLE riding bicycles, at sunset!",
    "café in Zürich — 東京の夜景, Москва зимой",
    "don't stop: it's 20°C & 3/4 full; #holiday @home (2024)",
    "party 🎉🎂 with friends 👩‍👩‍👧",
    "a",
    "",
    "a very long description of a mountain lake with a red boat and a wooden pier " * 12,
)


def export_folder(cache_dir: Path, encoder_id: str) -> Path:
    """Where the export of an encoder lies, or would lie. `encoder_id` includes the precision."""
    return cache_dir / "onnx" / re.sub(r"[^\w.+-]+", "--", encoder_id)


def is_exported(folder: Path) -> bool:
    return (folder / CARD_FILE).is_file()


def export_encoder(
    build: Callable[[], TorchEncoder], folder: Path, *, precision: Precision, id: str
) -> None:
    """Writes the folder unless it is there; a half-written one is never seen under its name.

    Of several processes that want the same encoder at once, one calls `build` and the others wait.
    Raises EncoderError where the exported networks do not agree with torch.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if is_exported(folder):
                return
            draft = folder.with_name(f".{folder.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
            encoder = build()
            draft.mkdir()
            try:
                _write(encoder, draft, precision=precision, id=id)
                _sync(draft)
                if folder.exists():  # what a damaged export left behind
                    shutil.rmtree(folder)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise EncoderError(f"Cannot write the encoder to {folder}: {error}") from error


def _write(encoder: TorchEncoder, draft: Path, *, precision: Precision, id: str) -> None:
    tokenizer = save_tokenizer(encoder, draft / TOKENIZER_FILE)
    fixed_length = not _takes_any_length(encoder.model)
    _export_images(encoder, draft / IMAGE_FILE)
    _export_texts(encoder, draft / TEXT_FILE, fixed_length=fixed_length)
    if precision == "int8":
        for file in (IMAGE_FILE, TEXT_FILE):
            _quantise(draft / file)
    name, _, revision = id.partition("/")
    card = EncoderCard(
        name=name,
        revision=revision,
        id=id,
        precision=precision,
        dimension=encoder.dimension,
        image_size_px=encoder.image_size_px,
        resize=encoder.preprocessing.resize,
        interpolation=encoder.preprocessing.interpolation,
        context_length=encoder.context_length,
        logit_scale=encoder.logit_scale,
        fixed_length=fixed_length,
        sha256={path.name: _sha256(path) for path in sorted(draft.iterdir())},
        **tokenizer,
    )
    _write_card(card, draft)
    checks = check_against_torch(OnnxEncoder.load(draft), encoder, precision=precision)
    _write_card(EncoderCard(**{**asdict(card), "checks": checks}), draft)


def check_against_torch(
    exported: OnnxEncoder, encoder: TorchEncoder, *, precision: Precision
) -> dict[str, float]:
    """Returns the lowest cosine for pictures and for texts. Raises EncoderError if too low."""
    ours = exported.tokenize(CHECK_TEXTS)
    theirs = encoder.tokenize(CHECK_TEXTS)  # [N, context length]
    padded = np.full_like(theirs, exported.card.pad_id)
    padded[:, : ours.shape[1]] = ours
    if not np.array_equal(padded, theirs):
        row = int(np.argmax((padded != theirs).any(axis=1)))
        raise EncoderError(
            f"The exported tokenizer of {encoder.id} differs from open_clip's on "
            f"{CHECK_TEXTS[row]!r}."
        )
    pictures = check_pictures()
    cosines = {
        "image_cosine": _lowest_cosine(
            exported.encode_images(pictures), encoder.encode_images(pictures)
        ),
        "text_cosine": _lowest_cosine(
            exported.encode_texts(CHECK_TEXTS), encoder.encode_texts(CHECK_TEXTS)
        ),
    }
    if min(cosines.values()) < MINIMAL_COSINE[precision]:
        raise EncoderError(
            f"{encoder.id} as {precision} ONNX differs from torch: cosine "
            f"{cosines['image_cosine']:.4f} on pictures, {cosines['text_cosine']:.4f} on texts, "
            f"where {MINIMAL_COSINE[precision]} is required."
        )
    return cosines


def check_pictures() -> list[Image.Image]:
    """Pictures of several shapes and contents, the same on every machine."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:300, 0:400]
    waves = np.stack([np.sin(rows / 9), np.cos(columns / 23), np.sin((rows + columns) / 40)], -1)
    disc = (rows - 150) ** 2 + (columns - 200) ** 2 < 90**2
    scene = np.where(disc[..., None], [230, 60, 20], [40, 120, 200])
    blocks = np.kron(generator.integers(0, 256, (6, 10, 3)), np.ones((64, 48, 1)))
    arrays: list[npt.NDArray[Any]] = [
        generator.integers(0, 256, (256, 256, 3)),
        127.5 + 127.5 * waves,
        scene,
        blocks,
        np.full((200, 320, 3), 245),
        np.broadcast_to((columns * 255 // 399)[..., None], (300, 400, 3)),
    ]
    return [Image.fromarray(array.astype(np.uint8)) for array in arrays]


def _lowest_cosine(left: Embeddings, right: Embeddings) -> float:
    return float(np.sum(left * right, axis=1).min())


# -- the two networks


def _export_images(encoder: TorchEncoder, path: Path) -> None:
    import torch
    from torch.nn.functional import normalize

    preprocessing = encoder.preprocessing

    class Images(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = encoder.model.visual
            self.mean = torch.nn.Buffer(255 * torch.tensor(preprocessing.mean).reshape(1, 3, 1, 1))
            self.std = torch.nn.Buffer(255 * torch.tensor(preprocessing.std).reshape(1, 3, 1, 1))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            inputs = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
            return normalize(self.visual(inputs), dim=-1)

    size = preprocessing.size_px
    _export(
        Images(),
        torch.zeros((2, size, size, 3), dtype=torch.uint8),
        path,
        name="pixels",
        dynamic={0: torch.export.Dim("batch")},
    )


def _export_texts(encoder: TorchEncoder, path: Path, *, fixed_length: bool) -> None:
    import torch
    from torch.nn.functional import normalize

    model = encoder.model

    class Texts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.model.encode_text(tokens, normalize=True)  # type: ignore[no-any-return]

    class ShortTexts(torch.nn.Module):
        """CLIP's text tower on as many tokens as there are: a short query takes a sixth."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            from open_clip.transformer import text_global_pool

            length = tokens.shape[1]
            inputs = model.token_embedding(tokens) + model.positional_embedding[:length]
            states = model.transformer(inputs, attn_mask=model.attn_mask[:length, :length])
            pooled = text_global_pool(
                model.ln_final(states),
                tokens,
                model.text_pool_type,
                eos_token_id=getattr(model, "text_eos_id", None),
            )
            projection = model.text_projection
            if isinstance(projection, torch.nn.Linear):
                return normalize(projection(pooled), dim=-1)
            return normalize(pooled @ projection, dim=-1)

    tokens = torch.from_numpy(encoder.tokenize(["a dog", "a cat on a long white beach"]))
    dynamic = {0: torch.export.Dim("batch")}
    if not fixed_length:
        tokens = tokens[:, :10]
        dynamic[1] = torch.export.Dim("length", min=2, max=encoder.context_length)
    _export(Texts() if fixed_length else ShortTexts(), tokens, path, name="tokens", dynamic=dynamic)


def _takes_any_length(model: Any) -> bool:
    # with a causal mask, what is padded behind the end token cannot change it
    import open_clip

    return (
        type(model) is open_clip.CLIP
        and model.attn_mask is not None
        and model.text_projection is not None
        and model.text_pool_type in ("argmax", "eos")
    )


def _export(module: Any, example: Any, path: Path, *, name: str, dynamic: dict[int, Any]) -> None:
    import torch

    size_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    try:
        with torch.no_grad():
            torch.onnx.export(
                module.eval(),
                (example,),
                str(path),
                input_names=[name],
                output_names=["embeddings"],
                dynamic_shapes=(dynamic,),
                dynamo=True,
                external_data=size_bytes > _PROTOBUF_LIMIT_BYTES,
                verbose=False,
            )
    except Exception as error:  # torch.export raises whatever its tracing meets
        reason = " ".join(str(error).split())[:300]
        raise EncoderError(f"torch cannot export {path.stem} to ONNX: {reason}") from error


def _quantise(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = path.with_name(f"{path.name}.data").exists()
    plain = path.with_name(f"plain-{path.name}")
    # the external file keeps the name that is written inside the network
    path.rename(plain)
    with quiet():
        quantize_dynamic(
            plain,
            path.with_name(f"int8-{path.name}"),
            # convolutions and embeddings gain nothing from it and lose exactness
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            # seven bits: eight overflow in the 16-bit sums of CPUs without VNNI
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )
    plain.unlink()
    path.with_name(f"int8-{path.name}").rename(path)
    if large:
        path.with_name(f"{path.name}.data").unlink()


# -- the tokenizer


# -- files


def _write_card(card: EncoderCard, folder: Path) -> None:
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        if path.is_dir() and os.name == "nt":  # Windows cannot open a folder
            continue
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
