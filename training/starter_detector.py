"""Trains, measures and writes `searchengine/starter_detector`, the detector inside the package.

    python training/starter_detector.py --data ../shared/data --out searchengine/starter_detector \\
        --revision 6

Caches the maps of the backbone's frozen half, trains the rest for `--minutes` on two CPU cores,
fits the scores' calibration, writes the files and prints every figure of the model card.
`--calibrate-only` fits the scores of the files in `--out` anew, `--evaluate-only` measures them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from starter_common import imagenet_weights
from starter_detector_data import IMAGE_SIZE_PX, Floats, Pixels, read_pictures
from starter_detector_model import PixelBackbone, detector_config
from starter_detector_report import (
    CARD,
    figures,
    onnx_detector,
    pictures_per_second,
    predict,
    save_folder,
    without_duplicates,
    write_card,
)
from starter_detector_training import SCHEDULE, Plan, log, train
from starter_detector_views import build_cache
from transformers import RTDetrV2ForObjectDetection


def onnx_backbone(cache: Path, threads: int) -> Callable[[Pixels], list[Floats]]:
    """The backbone as it came, through ONNX Runtime: twice as fast as torch on a CPU."""
    path = cache / "backbone.onnx"
    torch.onnx.export(
        PixelBackbone(),
        (torch.zeros((2, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=torch.uint8),),
        path,
        input_names=["pixels"],
        dynamic_axes={"pixels": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options)

    def run(pixels: Pixels) -> list[Floats]:
        return [np.asarray(output) for output in session.run(None, {"pixels": pixels})]

    return run


def whole_detector(checkpoint: Path) -> RTDetrV2ForObjectDetection:
    """The trained parts and the backbone in one model."""
    trained = torch.load(checkpoint, weights_only=True)["average"]
    detector = RTDetrV2ForObjectDetection(detector_config())
    late, whole = "model.backbone.", "model.backbone.model._backbone."
    weights = imagenet_weights()
    tuned = {name: trained.pop(name) for name in list(trained) if name.startswith(late)}
    weights.update({name.removeprefix(late): value for name, value in tuned.items()})
    backbone = {
        name: weights[name.removeprefix(whole)]
        for name in detector.state_dict()
        if name.startswith(whole)
    }
    detector.load_state_dict({**trained, **backbone})
    return detector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("build/starter_detector"))
    minutes = sum(phase.minutes for phase in SCHEDULE)
    parser.add_argument("--minutes", type=float, default=minutes, help="training, cache apart")
    parser.add_argument("--views", type=int, default=12000, help="to cache, held-out ones first")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--revision", help="of the files to write: a new one for new weights")
    parser.add_argument("--calibrate-only", action="store_true", help="the files in --out, anew")
    parser.add_argument("--evaluate-only", action="store_true")
    options = parser.parse_args()
    if not options.evaluate_only and not options.revision:
        parser.error("--revision is missing: what was detected is kept under it, so a new one")
    pictures = read_pictures(options.data)
    if not (options.evaluate_only or options.calibrate_only):
        options.cache.mkdir(parents=True, exist_ok=True)
        backbone = onnx_backbone(options.cache, options.processes)
        build_cache(options.data, options.cache, options.seed, backbone, log, options.views)
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(
                options.cache,
                options.minutes,
                options.seed,
                options.processes,
                options.views,
                Path(folder) / "rendezvous",
            )
            checkpoint = plan.checkpoint
            if checkpoint.exists():
                recipe = torch.load(checkpoint, weights_only=True).get("recipe")
                if recipe != plan.recipe:
                    parser.error(f"{checkpoint} is of another training: delete it to start anew")
            torch.multiprocessing.spawn(train, (plan,), nprocs=options.processes)
        save_folder(whole_detector(plan.checkpoint), options.out)
    detect = onnx_detector(options.out, options.processes)
    if not options.evaluate_only:
        held_out = [picture for picture in pictures if picture.part == "calibration"]
        write_card(options.out, without_duplicates(predict(detect, held_out)), options.revision)
    card = json.loads((options.out / CARD).read_text())
    size = sum(path.stat().st_size for path in options.out.iterdir())
    result = {
        **figures(detect, pictures, card["calibration"]),
        "onnx_pictures_per_second_two_threads": pictures_per_second(options.out),
        "size_mb": round(size / 1e6, 2),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
