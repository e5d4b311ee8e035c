"""Picks an encoder by name and builds it on the runtime that suits the machine.

CPU: ONNX Runtime, from an export that is prepared once and needs no torch afterwards. cuda and
mps: torch. Both give embeddings of the same id.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from indexer.catalogue import (
    STARTER_NAME,
    WEIGHT_FILES,
    CatalogueEntry,
    find,
    is_cached,
    load_catalogue,
    recommended_entry,
    unknown_message,
)
from indexer.encoder import Encoder
from indexer.errors import EncoderError, EncoderUnavailable, UnknownEncoder, UsageError
from indexer.export import Precision, export_encoder, export_folder, is_exported
from indexer.onnx_encoder import OnnxEncoder, read_card
from indexer.torch_encoder import (
    RANDOM_TAG,
    TorchEncoder,
    Weights,
    build_torch_encoder,
    choose_device,
)

Announce = Callable[[str], None]

STARTER_FOLDER = Path(__file__).parent / "starter"
_STARTER_MEND = "Install searchengine again: pip install --force-reinstall --no-deps searchengine"


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What a library remembers of its encoder; `asdict` makes JSON of it."""

    name: str  # "starter", or ARCH/TAG
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    precision: str = "auto"  # auto, fp32 or int8; bf16 and fp16 are the torch runtime's own choice


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Where and how an encoder runs on this machine; none of it changes the encoder's id."""

    cache_dir: Path
    runtime: str = "auto"  # auto, onnx, torch
    device: str = "auto"  # auto, cpu, cuda, mps
    threads: int | None = None


def resolve(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    precision: str = "auto",
    cache_dir: Path | None = None,
) -> EncoderSpec:
    """Makes a spec of a catalogue name or of ARCH/TAG.

    `cache_dir` spares the import of open_clip for an ARCH/TAG that is exported there already.
    Raises UnknownEncoder with the nearest names, UsageError.
    """
    if precision not in ("auto", "fp32", "int8"):
        raise UsageError(f"--precision is {precision!r}; it takes auto, fp32 or int8.")
    if name.casefold() == STARTER_NAME:
        if checkpoint:
            raise UsageError(
                "--checkpoint needs the architecture its weights belong to. "
                "Run it with --encoder NAME; the names: searchengine models"
            )
        return EncoderSpec(STARTER_NAME)
    spec = EncoderSpec(_full_name(name, cache_dir, precision), precision=precision)
    if not checkpoint:
        return spec
    path = Path(checkpoint).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"--checkpoint {path}: there is no such file.")
    return replace(spec, checkpoint=str(path), checkpoint_sha256=_file_sha256(path))


def encoder_id(spec: EncoderSpec) -> str:
    """The id of the embeddings, known without building the encoder. Raises EncoderError."""
    if spec.name == STARTER_NAME:
        card = read_card(STARTER_FOLDER, mend=_STARTER_MEND)
        return card.id or f"{card.name}/{card.revision}"
    base = spec.name
    if spec.checkpoint:
        sha256 = spec.checkpoint_sha256 or _file_sha256(Path(spec.checkpoint))
        base = f"{spec.name.split('/')[0]}/{sha256[:12]}"
    return f"{base}+int8" if spec.precision == "int8" else base


def choose_auto(
    *,
    cache_dir: Path,
    announce: Announce,
    precision: str = "auto",
    cached: Callable[[CatalogueEntry], bool] = is_cached,
    hub_answers: Callable[[CatalogueEntry], bool] | None = None,
) -> EncoderSpec:
    """The recommended encoder if it can be had within seconds, else `starter` with a line why."""
    entry = recommended_entry()
    spec = EncoderSpec(entry.full_name, precision=precision)
    if _exported(cache_dir, encoder_id(spec)) or cached(entry):
        return spec
    if (hub_answers or answers)(entry):
        return spec  # the builder announces the download and its size
    announce(
        f"{entry.name} is not on this machine and its hub does not answer: using the small "
        f"built-in encoder. For better results, later: searchengine index --encoder {entry.name}"
    )
    return EncoderSpec(STARTER_NAME)


def answers(entry: CatalogueEntry, **options: Any) -> bool:
    """Whether the model hub would serve this encoder; `options` are those of `hub_serves`."""
    # a search with an encoder that is here needs no HTTP client
    from indexer.hub import hub_serves

    return hub_serves(entry.repository, WEIGHT_FILES, **options)


def build_encoder(spec: EncoderSpec, options: EncoderOptions, *, announce: Announce) -> Encoder:
    """Builds the encoder of a spec, on this machine; it never falls back to another encoder.

    Raises EncoderError, EncoderUnavailable where its weights cannot be had, UsageError.
    """
    if spec.name == STARTER_NAME:
        if options.device in ("cuda", "mps"):
            announce(f"`starter` runs on the CPU; --device {options.device} is for other encoders.")
        return OnnxEncoder.load(STARTER_FOLDER, threads=options.threads, mend=_STARTER_MEND)
    if _wants_onnx(spec, options):
        return _build_onnx(spec, options, announce)
    return _build_torch(spec, options, announce, device=options.device)


def _wants_onnx(spec: EncoderSpec, options: EncoderOptions) -> bool:
    if spec.precision == "int8":
        if options.runtime == "torch" or options.device in ("cuda", "mps"):
            raise UsageError(
                "int8 runs on ONNX Runtime on a CPU only. Leave out --precision int8, or run it "
                "with --runtime onnx --device cpu"
            )
        return True
    if options.runtime != "auto":
        if options.runtime == "onnx" and options.device in ("cuda", "mps"):
            raise UsageError(
                f"The ONNX runtime works on the CPU only; --device says {options.device}. "
                "Run it with --runtime torch"
            )
        return options.runtime == "onnx"
    if options.device == "cpu":
        return True
    return options.device == "auto" and not _torch_sees_accelerator()


def _torch_sees_accelerator() -> bool:
    if not has_accelerator_driver():  # spares the import of torch where there can be none
        return False
    return choose_device("auto") != "cpu"


def has_accelerator_driver() -> bool:
    """Whether a GPU that torch could use may be here; asks the system and not torch."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    library = "nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1"
    if platform.system() == "Linux" and Path("/dev/kfd").exists():  # AMD: torch calls it cuda
        return True
    try:
        cuda: Any = ctypes.CDLL(library)
    except OSError:
        return False
    count = ctypes.c_int(0)
    return (
        cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    )


def _build_onnx(spec: EncoderSpec, options: EncoderOptions, announce: Announce) -> Encoder:
    id = encoder_id(spec)
    folder = export_folder(options.cache_dir, id)
    if not is_exported(folder):
        missing = [name for name in ("onnx", "onnxscript") if not importlib.util.find_spec(name)]
        if missing:
            raise EncoderError(f"The export needs {missing[0]}. Run: pip install {missing[0]}")
        built: list[TorchEncoder] = []

        def build() -> TorchEncoder:
            built.append(_build_torch(spec, options, announce, device="cpu", weights="fp32"))
            announce(f"Preparing {_shown(spec)} for this machine (once, about a minute)")
            return built[0]

        precision: Precision = "int8" if spec.precision == "int8" else "fp32"
        try:
            export_encoder(build, folder, precision=precision, id=id)
        except EncoderError as error:
            if not built or options.runtime == "onnx" or spec.precision == "int8":
                raise
            announce(f"{error} Going on with torch, which is slower on a CPU.")
            return built[0]
        built.clear()
    return OnnxEncoder.load(folder, threads=options.threads)


def _build_torch(
    spec: EncoderSpec,
    options: EncoderOptions,
    announce: Announce,
    *,
    device: str,
    weights: Weights | None = None,
) -> TorchEncoder:

    architecture, _, tag = spec.name.partition("/")
    checkpoint = Path(spec.checkpoint) if spec.checkpoint else None
    if checkpoint:
        _check_checkpoint(checkpoint, spec)
    elif tag != RANDOM_TAG:
        entry = _entry(spec)
        if entry and not is_cached(entry):
            if not answers(entry):
                raise EncoderUnavailable(unavailable_message(entry))
            announce(f"Downloading {entry.name} ({entry.download_mb} MB, once)")
    try:
        return build_torch_encoder(
            architecture,
            tag,
            id=encoder_id(replace(spec, precision="auto")),
            checkpoint=checkpoint,
            device=device,
            weights=weights,
            threads=options.threads,
        )
    except EncoderUnavailable as error:
        entry = _entry(spec)
        raise EncoderUnavailable(unavailable_message(entry) if entry else str(error)) from error


def unavailable_message(entry: CatalogueEntry) -> str:
    """What is missing, where it is to be had, and how to put it in place by hand."""
    from huggingface_hub import constants

    address = f"{constants.ENDPOINT}/{entry.repository}/resolve/main/{WEIGHT_FILES[0]}"
    return (
        f"The weights of {entry.name} are not on this machine, and {constants.ENDPOINT} does not "
        f"serve them now. Download {address} ({entry.download_mb} MB) where there is a network, "
        f"then run: searchengine index --encoder {entry.name} --checkpoint FILE "
        f"(or use the built-in one: --encoder {STARTER_NAME})"
    )


def _check_checkpoint(path: Path, spec: EncoderSpec) -> None:
    if not path.is_file():
        raise EncoderUnavailable(
            f"The checkpoint {path} of this encoder is gone. Put it back, or name another encoder."
        )
    if spec.checkpoint_sha256 and _file_sha256(path) != spec.checkpoint_sha256:
        raise EncoderUnavailable(
            f"The checkpoint {path} has changed since the library was indexed with it. "
            f"Run: searchengine index --encoder {_shown(spec)} --checkpoint {path}"
        )


def _entry(spec: EncoderSpec) -> CatalogueEntry | None:
    try:
        return find(spec.name)
    except UnknownEncoder:
        return None


def _shown(spec: EncoderSpec) -> str:
    entry = _entry(spec)
    return entry.name if entry else spec.name


def _full_name(name: str, cache_dir: Path | None, precision: str) -> str:
    try:
        return find(name).full_name
    except UnknownEncoder:
        if "/" not in name:
            raise
    if cache_dir and _exported(cache_dir, encoder_id(EncoderSpec(name, precision=precision))):
        return name
    import open_clip

    architecture, _, tag = name.partition("/")
    known = [f"{arch}/{known_tag}" for arch, known_tag in open_clip.list_pretrained()]
    if architecture in open_clip.list_models() and tag == RANDOM_TAG:
        return name
    if name in known:
        return name
    names = [entry.name for entry in load_catalogue()]
    raise UnknownEncoder(unknown_message(name, [*known, *names]))


def _exported(cache_dir: Path, id: str) -> bool:
    return is_exported(export_folder(cache_dir, id))


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EncoderUnavailable(f"Cannot read the checkpoint {path}: {error.strerror}") from error
