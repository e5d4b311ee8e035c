"""The starter detector's training: two equal processes, a schedule of phases, a checkpoint."""

from __future__ import annotations

import copy
import datetime
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from starter_detector_data import FEATURE_SHAPES, LABELS, Floats, Ints
from starter_detector_model import (
    Targets,
    encoder_phase_loss,
    freeze_encoder,
    full_loss,
    new_detector,
    start_decoder,
    token_centres,
)
from starter_detector_views import FeatureCache, new_tuned_maps, open_cache, tune_maps
from torch import Tensor
from transformers import RTDetrV2ForObjectDetection

BATCH = 8  # a process and step
BACKBONE_RATE = 0.2  # of the learning rate
WARM_UP_STEPS = 300  # wherever something starts from nothing: the encoder, the decoder
EMA_DECAY = 0.998
MAX_BOXES = 40


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the training. Its rate is flat, then falls to 0.4 % of that by a cosine."""

    trains: Literal["encoder", "backbone", "decoder"]
    minutes: float
    learning_rate: float
    flat: float  # share of the phase


# The encoder and its head on the backbone as it came; with the backbone's late stages; the decoder,
# on all of that frozen. What other schedules gave: docs/starter-detector.md.
SCHEDULE = (
    Phase("encoder", 15, 1e-3, 1.0),
    Phase("backbone", 50, 1e-3, 0.4),
    Phase("decoder", 19, 1e-3, 0.4),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training process needs to know."""

    cache: Path
    minutes: float
    seed: int
    processes: int
    views: int
    rendezvous: Path

    @property
    def recipe(self) -> str:
        """What a checkpoint must have been made with for the training to go on from it."""
        return f"{SCHEDULE} {self.minutes:g} {self.seed} {self.processes} {self.views}"

    @property
    def checkpoint(self) -> Path:
        return self.cache / "checkpoint.pt"


def log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


# --- batches ---------------------------------------------------------------------------------


def sampling_weights(cache: FeatureCache) -> Floats:
    """How often each view is drawn: rare labels more (Gupta et al. 2019, LVIS, sec. 5.1)."""
    views = [i for i, kind in enumerate(cache.kinds) if kind.startswith("train/")]
    frequency = np.ones(len(LABELS))
    for view in views:
        frequency[np.unique(cache.labels[view])] += 1
    repeat = np.clip(0.1 * frequency.max() / frequency, 1, None) ** 0.65
    weights = np.zeros(len(cache), np.float32)
    for view in views:
        wanted = repeat[cache.labels[view]] * cache.confidence[view]
        weights[view] = max(0.6, wanted.max()) if len(wanted) else 0.5
        kind = cache.kinds[view]
        for part, factor in (("/coco/", 2.0), ("/voc/", 1.7), ("mosaic", 1.2)):
            weights[view] *= factor if part in kind else 1.0
    return weights / weights.sum()


class Batches:
    """Reads random batches of some of the cached maps ahead of the training loop."""

    def __init__(self, cache: FeatureCache, names: Sequence[str], seed: list[int]) -> None:
        self._cache = cache
        self._names = names
        self._chance = sampling_weights(cache).astype(np.float64)
        self._chance /= self._chance.sum()
        self._rng = np.random.default_rng(seed)
        self._reader = ThreadPoolExecutor(1)
        self._coming = deque(self._reader.submit(self._draw) for _ in range(4))

    def next(self) -> tuple[list[Tensor], Targets]:
        """The next batch; what went wrong while reading it is raised here."""
        self._coming.append(self._reader.submit(self._draw))
        return self._coming.popleft().result()

    def _draw(self) -> tuple[list[Tensor], Targets]:
        views = self._rng.choice(len(self._cache), BATCH, p=self._chance, replace=False)
        return self._read(np.sort(views))

    def _read(self, views: Ints) -> tuple[list[Tensor], Targets]:
        maps = [
            torch.from_numpy(self._cache.features[name][views].astype(np.float32))
            for name in self._names
        ]
        labels, boxes, confidence = [], [], []
        for view in views:
            xyxy, trust = self._cache.boxes_xyxy[view], self._cache.confidence[view]
            sides = xyxy[:, 2:] - xyxy[:, :2]
            usable = np.flatnonzero(sides.min(axis=1, initial=1.0) > 0.006)
            usable = usable[np.argsort(-trust[usable], kind="stable")[:MAX_BOXES]]
            labels.append(self._cache.labels[view][usable])
            centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2
            boxes.append(np.concatenate([centres, sides], 1)[usable])
            confidence.append(trust[usable])
        return maps, Targets(labels, boxes, confidence)


# --- training --------------------------------------------------------------------------------


def phase_at(minutes: float) -> tuple[int, float]:
    """The schedule's phase after `minutes` of it, and the share of that phase that is over."""
    for index, phase in enumerate(SCHEDULE):
        if minutes < phase.minutes:
            return index, minutes / phase.minutes
        minutes -= phase.minutes
    return len(SCHEDULE) - 1, 1.0


def learning_rate(phase: Phase, progress: float) -> float:
    """By the share of a phase's time, so that it ends low however fast the machine was."""
    fall = (progress - phase.flat) / (1 - phase.flat) if progress > phase.flat else 0.0
    return phase.learning_rate * max(0.5 * (1 + math.cos(math.pi * fall)), 0.004)


def train(rank: int, plan: Plan) -> None:
    """One of `plan.processes` equal processes; gradients are averaged after every step.

    Processes of one thread, not threads: on a machine with other work a thread that is put
    aside stalls every parallel loop, a process only the end of a step.
    """
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{plan.rendezvous}",
        rank=rank,
        world_size=plan.processes,
        timeout=datetime.timedelta(hours=2),
    )
    torch.manual_seed(plan.seed)
    model = new_detector().train()
    average = copy.deepcopy(model)
    parameters = list(model.parameters())
    late = list(model.model.backbone.parameters())
    others = [p for n, p in model.named_parameters() if not n.startswith("model.backbone.")]
    optimizer = torch.optim.AdamW(
        [{"params": others, "factor": 1.0}, {"params": late, "factor": BACKBONE_RATE}],
        lr=0.0,  # the schedule sets it
        betas=(0.9, 0.98),
        weight_decay=1e-3,
        fused=True,
    )
    total_s, step, elapsed_s, index, decoder_start = plan.minutes * 60, 0, 0.0, -1, -1
    checkpoint = plan.checkpoint
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed_s, decoder_start = state["step"], state["elapsed_s"], state["decoder_start"]
        if decoder_start >= 0:
            freeze_encoder(model)
    centres, recent_s, mean_loss, saved_s = token_centres(), [0.5], 0.0, elapsed_s
    whole_schedule = sum(phase.minutes for phase in SCHEDULE)
    while elapsed_s < total_s:
        started = time.perf_counter()
        before, (index, progress) = index, phase_at(elapsed_s / total_s * whole_schedule)
        phase = SCHEDULE[index]
        if phase.trains == "decoder" and decoder_start < 0:
            decoder_start = step
            _begin_decoder(model, average, plan.cache, rank, plan.processes)
            started = time.perf_counter()
        if index != before:
            names = ["stem"] if phase.trains == "backbone" else list(FEATURE_SHAPES)
            cache = open_cache(plan.cache, tuned=phase.trains == "decoder")
            batches = Batches(cache, names, [plan.seed, step, rank])
            torch.manual_seed(plan.seed + 10 * step + rank)
        first = max(decoder_start, 0)
        rate = learning_rate(phase, progress) * min(1.0, (step - first + 1) / WARM_UP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        maps, targets = batches.next()
        if phase.trains == "backbone":
            maps = model.model.backbone.run(maps[0])
        if phase.trains == "decoder":
            loss = full_loss(model, maps, targets, centres)
        else:
            loss = encoder_phase_loss(model, maps, targets, centres)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(parameters, plan.processes)
        optimizer.step()
        step += 1
        # a pause (another program's benchmark, SIGSTOP) is no training time
        recent_s = [*recent_s[-49:], time.perf_counter() - started]
        clock = torch.tensor([min(recent_s[-1], 4 * float(np.median(recent_s)))])
        dist.broadcast(clock, 0)  # one clock, so that all change phase at the same step
        elapsed_s += float(clock)
        mean_loss += (float(loss.detach()) - mean_loss) * max(0.02, 1 / step)
        if rank == 0:
            _follow(average, model, min(EMA_DECAY, (1 + step - first) / (10 + step - first)))
            if step % 100 == 0:
                log(f"step {step} {elapsed_s / 60:.1f} min, rate {rate:.1e}, loss {mean_loss:.3f}")
            if elapsed_s - saved_s > 120 or elapsed_s >= total_s:
                saved_s = elapsed_s
                state = {
                    "recipe": plan.recipe,
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "elapsed_s": elapsed_s,
                    "decoder_start": decoder_start,
                }
                torch.save(state, checkpoint.with_suffix(".tmp"))
                os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    dist.barrier()


@torch.no_grad()
def _begin_decoder(
    model: RTDetrV2ForObjectDetection,
    average: RTDetrV2ForObjectDetection,
    cache: Path,
    rank: int,
    processes: int,
) -> None:
    """Freeze all but the decoder at its average, store the maps it reads, start it from them."""
    for each, other in zip(model.parameters(), average.parameters(), strict=True):
        dist.broadcast(other.data, 0)  # rank 0 alone keeps the average
        each.data.copy_(other.data)
    for each, other in zip(model.buffers(), average.buffers(), strict=True):
        if other.is_floating_point():
            dist.broadcast(other.data, 0)
        each.data.copy_(other.data)
    freeze_encoder(model)
    if rank == 0:
        new_tuned_maps(cache)
    dist.barrier()

    def late(grids: Floats) -> list[Floats]:
        return [each.numpy() for each in model.model.backbone.run(torch.from_numpy(grids))]

    tune_maps(cache, late, slice(rank, None, processes))
    dist.barrier()
    tuned = open_cache(cache, tuned=True)
    views = np.flatnonzero(np.char.startswith(tuned.kinds, "train/"))[:64]
    start_decoder(
        model,
        [
            torch.from_numpy(tuned.features[name][views].astype(np.float32))
            for name in FEATURE_SHAPES
        ],
    )
    average.load_state_dict(model.state_dict())


def _average_gradients(parameters: list[Tensor], processes: int) -> None:
    """Averages over the processes and clips the norm at 1; a phase leaves the same ones out."""
    used = [each for each in parameters if each.grad is not None]
    flat = torch.cat([each.grad.flatten() for each in used])
    dist.all_reduce(flat)
    flat /= processes
    flat *= min(1.0, 1.0 / (float(flat.norm()) + 1e-6))
    for each, gradient in zip(used, flat.split([e.numel() for e in used]), strict=True):
        each.grad = gradient.view_as(each)


@torch.no_grad()
def _follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Exponential moving average of weights and batch norm statistics."""
    means, values = (
        [*each.parameters(), *each.buffers()]  # not state_dict, where shared heads come twice
        for each in (average, model)
    )
    for mean, value in zip(means, values, strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
