"""Encoders by name and on ONNX Runtime: chosen, exported once, checked, loaded without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from photographs import photograph
from PIL import Image

from indexer.catalogue import recommended_entry
from indexer.encoder import Embeddings
from indexer.encoders import (
    EncoderOptions,
    EncoderSpec,
    answers,
    build_encoder,
    choose_auto,
    encoder_id,
    resolve,
)
from indexer.errors import EncoderError, EncoderUnavailable, UnknownEncoder, UsageError
from indexer.export import check_against_torch, export_folder
from indexer.export_tokenizer import build_clip_tokenizer
from indexer.onnx_encoder import OnnxEncoder, clean_text
from indexer.torch_encoder import TorchEncoder, build_torch_encoder

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "rocket.jpg")
TEXTS = ["a dog", "zwei Hunde am Strand, bei Nacht!", "", "word " * 200, "東京 🎉"]


def open_photographs() -> list[Image.Image]:
    return [Image.open(photograph(name)).convert("RGB") for name in PHOTOGRAPHS]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> EncoderSpec:
    """A very small architecture of open_clip's, with random weights."""
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    }
    path = tmp_path_factory.mktemp("architectures") / "tiny-onnx.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return resolve("tiny-onnx/random")


@pytest.fixture(scope="module")
def by_torch(tiny: EncoderSpec) -> TorchEncoder:
    return build_torch_encoder("tiny-onnx", "random", id=tiny.name, device="cpu", weights="fp32")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny: EncoderSpec) -> Path:
    """A cache in which the small encoder is prepared, once for all tests here."""
    directory = tmp_path_factory.mktemp("cache")
    folder = export_folder(directory, tiny.name)
    killed = folder.with_name(f".{folder.name}.draft")  # of a process that was killed in between
    killed.mkdir(parents=True)
    (killed / "encoder.json").write_text("{")
    announced: list[str] = []
    options = EncoderOptions(cache_dir=directory, device="cpu")
    threads = [
        threading.Thread(
            target=build_encoder, args=(tiny, options), kwargs={"announce": announced.append}
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert announced == ["Preparing tiny-onnx/random for this machine (once, about a minute)"]
    return directory


@pytest.fixture
def exported(cache: Path, tmp_path: Path, tiny: EncoderSpec) -> Path:
    """A copy of the prepared folder, to be damaged at will."""
    return Path(shutil.copytree(export_folder(cache, tiny.name), tmp_path / "exported"))


def nothing_announced(line: str) -> None:
    raise AssertionError(f"announced: {line}")


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- the export and its runtime


def test_an_export_gives_torchs_embeddings_of_pictures_and_texts(
    cache: Path, tiny: EncoderSpec, by_torch: TorchEncoder
) -> None:
    options = EncoderOptions(cache_dir=cache, device="cpu")
    by_onnx = build_encoder(tiny, options, announce=nothing_announced)
    pictures = open_photographs()
    assert isinstance(by_onnx, OnnxEncoder)
    images = by_onnx.encode_images(pictures)
    texts = by_onnx.encode_texts(TEXTS)
    assert np.sum(images * by_torch.encode_images(pictures), axis=1).min() >= 0.9999
    assert np.sum(texts * by_torch.encode_texts(TEXTS), axis=1).min() >= 0.9999
    assert not np.allclose(images[0], images[1], atol=1e-3)
    assert (by_onnx.id, by_onnx.dimension, by_onnx.image_size_px) == ("tiny-onnx/random", 32, 64)
    assert by_onnx.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_an_export_remembers_how_near_it_is_to_torch(exported: Path) -> None:
    card = json.loads((exported / "encoder.json").read_text())
    assert set(card["checks"]) == {"image_cosine", "text_cosine"}
    assert min(card["checks"].values()) >= 0.999


def test_the_length_of_a_batch_does_not_change_its_embeddings(exported: Path) -> None:
    encoder = OnnxEncoder.load(exported)
    together = encoder.encode_texts(TEXTS * 20)  # more than one run of the network
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    assert encoder.tokenize(["a dog"]).shape == (1, 4)
    np.testing.assert_allclose(together, np.tile(alone, (20, 1)), atol=1e-4)


def test_nothing_to_encode_gives_no_rows_and_loads_no_network(exported: Path) -> None:
    (exported / "image.onnx").write_bytes(b"")
    (exported / "text.onnx").write_bytes(b"")
    encoder = OnnxEncoder.load(exported)
    assert encoder.encode_images([]).shape == (0, 32)
    assert encoder.encode_texts([]).shape == (0, 32)


def test_an_exported_encoder_needs_neither_torch_nor_open_clip(cache: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from indexer.encoders import *
cache = Path({str(cache)!r})
spec = resolve("tiny-onnx/random", cache_dir=cache)
options = EncoderOptions(cache_dir=cache, device="cpu")
encoder = build_encoder(spec, options, announce=print)
encoder.encode_texts(["a café at night"])
encoder_id(spec)
print([m for m in ("torch", "open_clip", "transformers", "onnx") if m in sys.modules])
"""
    assert run_python(code) == "[]"


def test_searching_by_text_does_not_read_the_image_network(
    exported: Path, by_torch: TorchEncoder
) -> None:
    (exported / "image.onnx").write_bytes(b"rubbish")
    encoder = OnnxEncoder.load(exported)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), by_torch.encode_texts(TEXTS), atol=1e-4)
    with pytest.raises(EncoderError, match=r"image\.onnx is damaged\. Delete .*exported"):
        encoder.encode_images(open_photographs())


def test_one_flipped_bit_in_the_weights_is_noticed(exported: Path) -> None:
    content = bytearray((exported / "text.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (exported / "text.onnx").write_bytes(content)
    with pytest.raises(EncoderError, match=r"text\.onnx is damaged"):
        OnnxEncoder.load(exported).encode_texts(["a dog"])


@pytest.mark.parametrize("file", ["image.onnx", "text.onnx", "tokenizer.json"])
def test_a_missing_file_is_named_together_with_the_mend(exported: Path, file: str) -> None:
    (exported / file).unlink()
    with pytest.raises(EncoderError, match=f"lacks {file}. Install it again"):
        OnnxEncoder.load(exported, mend="Install it again.")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": "x"}'])
def test_a_damaged_card_is_an_error_that_names_it(exported: Path, content: str) -> None:
    (exported / "encoder.json").write_text(content)
    with pytest.raises(EncoderError, match=r"encoder\.json is (damaged|incomplete)"):
        OnnxEncoder.load(exported)


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"Cannot read .*nowhere/encoder\.json: No such file"):
        OnnxEncoder.load(tmp_path / "nowhere")


def test_embeddings_that_are_no_numbers_are_an_error_and_not_a_result(exported: Path) -> None:
    import hashlib

    import onnx

    network = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "dark (uint8[N, 64, 64, 3] pixels) => (float[N, 3] embeddings) {"
        " values = Cast <to = 1> (pixels)"
        " means = ReduceMean <axes = [1, 2], keepdims = 0> (values)"
        " embeddings = Log (means) }"
    )
    onnx.save(network, exported / "image.onnx")
    card = json.loads((exported / "encoder.json").read_text())
    card["dimension"] = 3
    digest = hashlib.sha256((exported / "image.onnx").read_bytes()).hexdigest()
    card["sha256"]["image.onnx"] = digest
    (exported / "encoder.json").write_text(json.dumps(card))
    encoder = OnnxEncoder.load(exported)
    grey, black = Image.new("RGB", (9, 9), (50, 50, 50)), Image.new("RGB", (9, 9))
    assert encoder.encode_images([grey])[0] == pytest.approx(np.log([50, 50, 50]))
    with pytest.raises(EncoderError, match="not finite numbers"):
        encoder.encode_images([grey, black])


def test_an_int8_export_is_near_smaller_and_has_an_id_of_its_own(
    cache: Path, tiny: EncoderSpec, by_torch: TorchEncoder
) -> None:
    spec = EncoderSpec(tiny.name, precision="int8")
    announced: list[str] = []
    options = EncoderOptions(cache_dir=cache)
    encoder = build_encoder(spec, options, announce=announced.append)
    pictures = open_photographs()
    assert encoder.id == encoder_id(spec) == "tiny-onnx/random+int8"
    assert (
        np.sum(encoder.encode_images(pictures) * by_torch.encode_images(pictures), 1).min() > 0.98
    )
    assert np.sum(encoder.encode_texts(TEXTS) * by_torch.encode_texts(TEXTS), 1).min() > 0.98
    size = {
        id: (export_folder(cache, id) / "image.onnx").stat().st_size
        for id in (encoder.id, tiny.name)
    }
    assert size[encoder.id] < 0.75 * size[tiny.name]  # its first convolution stays as it is


def test_two_that_prepared_at_once_left_one_whole_export_and_no_half_written_one(
    cache: Path, tiny: EncoderSpec
) -> None:
    folder = export_folder(cache, tiny.name)
    folders = [path.name for path in folder.parent.iterdir() if path.is_dir()]
    assert [name for name in folders if not name.endswith("int8")] == [folder.name]


def test_an_export_that_disagrees_with_torch_is_refused(
    exported: Path, by_torch: TorchEncoder
) -> None:
    class Shifted(TorchEncoder):
        """The same model with its text embeddings out of place."""

        def encode_texts(self, texts: Sequence[str]) -> Embeddings:
            return np.roll(super().encode_texts(texts), 1, axis=1)

    shifted = object.__new__(Shifted)
    shifted.__dict__.update(by_torch.__dict__)
    with pytest.raises(EncoderError, match=r"differs from torch: cosine 1\.0000 on pictures"):
        check_against_torch(OnnxEncoder.load(exported), shifted, precision="fp32")


def test_what_cannot_be_exported_runs_on_torch_and_one_line_says_so(tmp_path: Path) -> None:
    import open_clip

    config = open_clip.get_model_config("ViT-S-32-alt")
    config["vision_cfg"].update(layers=1, width=64)
    config["text_cfg"].update(layers=1, width=32, hf_tokenizer_name=str(tmp_path / "none"))
    (tmp_path / "tiny-stubborn.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-stubborn.json")
    announced: list[str] = []
    encoder = build_encoder(
        resolve("tiny-stubborn/random"),
        EncoderOptions(cache_dir=tmp_path, device="cpu"),
        announce=announced.append,
    )
    assert isinstance(encoder, TorchEncoder)
    assert len(announced) == 2 and announced[1].endswith(
        "Going on with torch, which is slower on a CPU."
    )
    with pytest.raises(EncoderError, match="needs a tokenizer"):
        build_encoder(
            resolve("tiny-stubborn/random"),
            EncoderOptions(cache_dir=tmp_path, runtime="onnx"),
            announce=announced.append,
        )


# -- the tokenizer


def strings() -> list[str]:
    return [
        "a dog",
        "A Photo OF Two DOGS, in the rain... (2024)!",
        "don't we're they'll I'd it's I've I'm 'sup 'S",
        "1234567890 3.14 ½ ² Ⅷ ٣",
        "café Zürich naïve İstanbul ſtraße ŒUVRE ΣΊΣΥΦΟΣ",
        "e\u0301 composed \ufb01ne ＦＵＬＬ width",
        "東京の夜景 москва зимой שלום مرحبا ไทย 한국어",
        "🎉🎂 👩‍👩‍👧 🇩🇪 ☕️ ❤️‍🔥",
        "&lt;b&gt; &amp;amp; &eacute; <start_of_text> <end_of_text> <b>",
        "schÃ¶n â€œquotesâ€\x9d",
        "tabs\tnew\nlines\r\n\u00a0\u2003\u200b zero\u0000null \x1b[31mred",
        "___ --- *** @home #tag $5 50% http://x.y/z?a=b&c=d",
        "",
        "   ",
        "x" * 500,
        "supercalifragilisticexpialidocious antidisestablishmentarianism",
        "word " * 100,
        "'" * 30,
    ]


def test_the_rebuilt_tokenizer_gives_open_clips_token_ids() -> None:
    import open_clip

    theirs = open_clip.get_tokenizer("ViT-B-32")
    ours = build_clip_tokenizer()
    ours.enable_truncation(max_length=77)
    ours.enable_padding(length=77, pad_id=0)
    generator = np.random.default_rng(0)
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x2000, 0x2C00), (0x4E00, 0x5000)]
    random_strings = []
    for _ in range(300):
        low, high = ranges[generator.integers(len(ranges))]
        letters = map(chr, generator.integers(low, high, generator.integers(1, 40)))
        # what Unicode has not assigned yet is a letter or none, by the age of the library
        assigned = "".join(letter for letter in letters if unicodedata.category(letter) != "Cn")
        random_strings.append(f"{assigned} a dog's {assigned[:1]}")
    for text in [*strings(), *random_strings]:
        assert ours.encode(clean_text(text, "lower")).ids == theirs([text])[0].tolist(), repr(text)


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_texts_are_cleaned_as_open_clip_cleans_them(clean: str) -> None:
    from open_clip.tokenizer import get_clean_fn

    for text in strings():
        assert clean_text(text, clean) == get_clean_fn(clean)(text)  # type: ignore[arg-type]


# -- names, specs and ids


def test_a_name_becomes_a_spec_that_survives_json() -> None:
    spec = resolve("vit-b-32-256", precision="int8")
    assert EncoderSpec(**json.loads(json.dumps(asdict(spec)))) == spec
    assert encoder_id(spec) == "ViT-B-32-256/datacomp_s34b_b86k+int8"
    assert encoder_id(resolve("ViT-L-14")) == "ViT-L-14/openai"
    assert encoder_id(resolve("ViT-L-14", precision="fp32")) == "ViT-L-14/openai"


def test_any_pair_of_open_clips_list_is_a_name_and_a_misspelt_one_gets_the_nearest() -> None:
    assert resolve("ViT-H-14/laion2b_s32b_b79k").name == "ViT-H-14/laion2b_s32b_b79k"
    with pytest.raises(UnknownEncoder, match=r"Did you mean ViT-H-14/laion2b_s32b_b79k"):
        resolve("ViT-H-14/laion2b_s32b_b97k")
    with pytest.raises(UnknownEncoder, match=r"Did you mean ViT-B-32"):
        resolve("ViT-B-23")


def test_the_id_of_a_checkpoint_is_its_hash_and_a_changed_file_is_refused(
    tmp_path: Path, tiny: EncoderSpec
) -> None:
    import hashlib

    path = tmp_path / "weights.pt"
    path.write_bytes(b"first")
    spec = resolve(tiny.name, checkpoint=path)
    assert encoder_id(spec) == f"tiny-onnx/{hashlib.sha256(b'first').hexdigest()[:12]}"
    options = EncoderOptions(cache_dir=tmp_path / "cache", device="cpu")
    path.write_bytes(b"second")
    with pytest.raises(EncoderUnavailable, match=r"weights\.pt has changed since"):
        build_encoder(spec, options, announce=nothing_announced)
    path.unlink()
    with pytest.raises(EncoderUnavailable, match=r"weights\.pt of this encoder is gone"):
        build_encoder(spec, options, announce=nothing_announced)


def test_a_checkpoint_is_exported_under_its_hash_and_then_needed_no_more(
    tmp_path: Path, tiny: EncoderSpec
) -> None:
    import open_clip
    import torch

    torch.manual_seed(5)
    model = open_clip.create_model("tiny-onnx").eval()
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    spec = resolve(tiny.name, checkpoint=path)
    options = EncoderOptions(cache_dir=tmp_path / "cache", device="cpu")
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("tiny-onnx")(TEXTS)
        expected = model.encode_text(tokens, normalize=True).numpy()
    build_encoder(spec, options, announce=lambda _: None)
    path.unlink()
    encoder = build_encoder(spec, options, announce=nothing_announced)
    assert encoder.id == encoder_id(spec)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-4)


def test_settings_that_contradict_each_other_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes auto, fp32 or int8"):
        resolve("ViT-B-32", precision="int4")
    with pytest.raises(UsageError, match="there is no such file"):
        resolve("ViT-B-32", checkpoint=tmp_path / "missing.pt")
    with pytest.raises(UsageError, match="needs the architecture"):
        resolve("starter", checkpoint=tmp_path)
    spec = resolve("ViT-B-32", precision="int8")
    with pytest.raises(UsageError, match="int8 runs on ONNX Runtime on a CPU only"):
        options = EncoderOptions(cache_dir=tmp_path, device="cuda")
        build_encoder(spec, options, announce=nothing_announced)
    with pytest.raises(UsageError, match="ONNX runtime works on the CPU only"):
        options = EncoderOptions(cache_dir=tmp_path, device="mps", runtime="onnx")
        build_encoder(resolve("ViT-B-32"), options, announce=nothing_announced)


# -- auto, and the hub


def test_auto_takes_the_recommended_encoder_where_it_is_cached_without_asking_the_hub(
    tmp_path: Path,
) -> None:
    spec = choose_auto(
        cache_dir=tmp_path,
        announce=nothing_announced,
        cached=lambda _: True,
        hub_answers=lambda _: pytest.fail("asked the hub"),
    )
    assert encoder_id(spec) == recommended_entry().full_name


def test_auto_takes_the_recommended_encoder_where_it_is_exported(tmp_path: Path) -> None:
    folder = export_folder(tmp_path, recommended_entry().full_name)
    folder.mkdir(parents=True)
    (folder / "encoder.json").write_text("{}")
    spec = choose_auto(
        cache_dir=tmp_path,
        announce=nothing_announced,
        cached=lambda _: False,
        hub_answers=lambda _: False,
    )
    assert spec.name == recommended_entry().full_name


def test_auto_takes_the_recommended_encoder_where_the_hub_answers(tmp_path: Path) -> None:
    spec = choose_auto(
        cache_dir=tmp_path,
        announce=nothing_announced,
        cached=lambda _: False,
        hub_answers=lambda _: True,
    )
    assert spec.name == recommended_entry().full_name


def test_auto_falls_back_to_the_starter_with_one_line_that_says_how_to_upgrade(
    tmp_path: Path,
) -> None:
    announced: list[str] = []
    spec = choose_auto(
        cache_dir=tmp_path,
        announce=announced.append,
        cached=lambda _: False,
        hub_answers=lambda _: False,
    )
    assert spec == EncoderSpec("starter")
    assert len(announced) == 1
    assert announced[0].endswith("searchengine index --encoder ViT-B-32-256")


@contextmanager
def local_hub(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_hub_that_has_the_weights_answers() -> None:
    entry = recommended_entry()

    def hub(request: BaseHTTPRequestHandler) -> None:
        wanted = f"/{entry.repository}/resolve/main/open_clip_pytorch_model.bin"
        request.send_response(302 if request.path == wanted else 404)
        request.send_header("Location", "http://127.0.0.1:9/storage")
        request.send_header("X-Repo-Commit", "0" * 40)
        request.end_headers()

    with local_hub(hub) as endpoint:
        assert answers(entry, endpoint=endpoint)


def test_a_login_page_in_between_is_not_taken_for_the_hub() -> None:
    def portal(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()

    with local_hub(portal) as endpoint:
        assert not answers(recommended_entry(), endpoint=endpoint)


def test_a_hub_that_never_answers_is_given_up_after_the_time_it_is_granted() -> None:
    with local_hub(lambda _: time.sleep(3)) as endpoint:
        start = time.monotonic()
        assert not answers(recommended_entry(), endpoint=endpoint, patience_s=0.3)
        assert time.monotonic() - start < 2


def test_a_hub_that_refuses_is_given_up_at_once() -> None:
    assert not answers(recommended_entry(), endpoint="http://127.0.0.1:9")


def test_a_named_encoder_never_falls_back_and_says_how_to_put_its_weights_in_place(
    tmp_path: Path,
) -> None:
    code = f"""
from pathlib import Path
from indexer.encoders import *
options = EncoderOptions(cache_dir=Path({str(tmp_path)!r}), device="cpu")
try:
    build_encoder(resolve("ViT-B-32-256"), options, announce=print)
except EncoderUnavailable as error:
    print(error)
"""
    said = run_python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert said.startswith("The weights of ViT-B-32-256 are not on this machine")
    assert "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K/resolve/main/open_clip_model" in said
    assert "searchengine index --encoder ViT-B-32-256 --checkpoint FILE" in said
