"""`classify` on Caltech-101: every third picture against all its class names (docs/classify.md)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import report
from match_levels import World, table

from indexer import encoders
from indexer.settings import load_settings
from searchengine.prompts import label_templates
from searchengine.zeroshot import Classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoder", default="starter")
    options = parser.parse_args()
    settings = load_settings(encoder=options.encoder)
    encoder = encoders.build_encoder(
        encoders.resolve(options.encoder, cache_dir=settings.cache_dir),
        encoders.EncoderOptions(cache_dir=settings.cache_dir),
        announce=print,
    )
    world = World(options.data, encoder)
    rows = [row for row in table(options.data / "caltech101/labels.tsv") if row["class"]][::3]
    names = sorted({row["class"] for row in rows})
    pictures = world.pictures("caltech101", [row["file"] for row in rows])
    right = np.array([names.index(row["class"]) for row in rows])
    at = np.arange(len(right))

    among = Classifier(encoder, names)
    p, cosines = among.scores(pictures)
    single = encoder.encode_texts([f"a photo of a {name}" for name in names])
    alone, _ = Classifier(encoder, names, prompts=world.prompts).scores(pictures)
    wrong = np.ones(alone.shape, bool)
    wrong[at, right] = False
    found = []
    for name, scores in (
        (f"{len(label_templates())} templates", cosines),
        ("a photo of a {}", pictures @ single.T),
    ):
        best = np.argsort(-scores, axis=1)
        found.append(
            {
                "labels": name,
                "pictures": len(right),
                "classes": len(names),
                "first right %": _percent(best[:, 0] == right),
                "in first five %": _percent((best[:, :5] == right[:, None]).any(axis=1)),
            }
        )
    report("zero_shot", 0, found)
    sure = p.max(axis=1)
    bins = [
        {
            "told": f"{low:.0%} to {low + 0.2:.0%}",
            "pictures": int(chosen.sum()),
            "mean told %": _percent(sure[chosen]),
            "right %": _percent(p.argmax(axis=1)[chosen] == right[chosen]),
        }
        for low in (0.0, 0.2, 0.4, 0.6, 0.8)
        if (chosen := (sure >= low) & (sure < low + 0.2 + 1e-6 * (low == 0.8))).any()
    ]
    report("zero_shot_calibration", 0, bins)
    multi = [
        {
            "--multi, at least": f"{limit:.0%}",
            "true labels %": _percent(alone[at, right] >= limit),
            "wrong labels %": _percent(alone[wrong] >= limit),
        }
        for limit in (0.5, 0.8)
    ]
    report("zero_shot_multi", 0, multi)


def _percent(values: np.ndarray) -> float:
    return round(100 * float(np.mean(values)), 1)


if __name__ == "__main__":
    main()
