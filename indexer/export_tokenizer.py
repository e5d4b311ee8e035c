"""The part of an export that is no network: open_clip's tokenizers as `tokenizers` JSON."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from indexer.errors import EncoderError
from indexer.onnx_encoder import Clean
from indexer.torch_encoder import TorchEncoder


def save_tokenizer(encoder: TorchEncoder, path: Path) -> dict[str, Any]:
    """Writes `tokenizer.json`; returns what the card says about it."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    tokenizer = encoder.tokenizer
    if tokenizer is None:
        encoder.tokenize([""])  # raises, and says why there is none
    if isinstance(tokenizer, SimpleTokenizer):
        build_clip_tokenizer().save(str(path))
        return {"pad_id": 0, "clean": _clean_name(tokenizer.clean_fn)}
    if not isinstance(tokenizer, HFTokenizer) or tokenizer.tokenizer_mode:
        raise EncoderError(f"The tokenizer of {encoder.id} cannot be exported.")
    inner: Any = tokenizer.tokenizer
    inner.backend_tokenizer.save(str(path))
    replace = [[inner.sep_token_id, 0]] if tokenizer.strip_sep_token else []
    return {
        "pad_id": int(inner.pad_token_id),
        "clean": _clean_name(tokenizer.clean_fn),
        "replace_tokens": replace,
    }


def _clean_name(function: Any) -> Clean:
    names: dict[str, Clean] = {
        "_clean_lower": "lower",
        "_clean_canonicalize": "canonicalize",
        "_clean_whitespace": "whitespace",
    }
    return names[function.__name__]


def build_clip_tokenizer() -> Any:
    """CLIP's byte-pair tokenizer as a `tokenizers.Tokenizer`, for text that is cleaned already.

    Source: open_clip.tokenizer.SimpleTokenizer and the vocabulary beside it.
    """
    from open_clip.tokenizer import bytes_to_unicode, default_bpe
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")
    merges = [(first, second) for first, second in map(str.split, lines[1 : 49152 - 256 - 2 + 1])]
    letters = list(bytes_to_unicode().values())
    words = letters + [f"{letter}</w>" for letter in letters]
    words += ["".join(pair) for pair in merges]
    start, end = "<start_of_text>", "<end_of_text>"
    vocabulary = {word: index for index, word in enumerate([*words, start, end])}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=end)
    )
    tokenizer.add_special_tokens([AddedToken(word, normalized=False) for word in (start, end)])
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    return tokenizer
