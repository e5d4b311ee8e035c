"""Small pictures inside terminals that can show them: kitty's and iTerm2's own protocols."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

from indexer.decode import content_hash, decode, read_file
from indexer.records import Decoded

SIDE_PX = 160
_CHUNK = 4096  # kitty takes a picture in pieces of at most that many base64 characters


def protocol(environment: Mapping[str, str]) -> str | None:
    """ "kitty", "iterm" or None, by what the terminal says of itself."""
    if "KITTY_WINDOW_ID" in environment or environment.get("TERM") in (
        "xterm-kitty",
        "xterm-ghostty",
    ):
        return "kitty"
    if environment.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm"):
        return "iterm"
    return None


def thumbnail(path: str, kind: str) -> str | None:
    """The escape sequence that shows the picture, or None where it can't be read any more."""
    data = read_file(path)
    if not isinstance(data, bytes):
        return None
    decoded = decode(path, data, sha256=content_hash(data), target_px=SIDE_PX, max_megapixels=200)
    if not isinstance(decoded, Decoded):
        return None
    decoded.image.thumbnail((2 * SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    decoded.image.save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return _kitty(text) if kind == "kitty" else f"\033]1337;File=inline=1:{text}\a"


def _kitty(text: str) -> str:
    # Source: the kitty graphics protocol, "remote client": f=100 is PNG, m=1 says more follows
    pieces = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    sequence = ""
    for number, piece in enumerate(pieces):
        first = "f=100,a=T," if number == 0 else ""
        sequence += f"\033_G{first}m={int(number < len(pieces) - 1)};{piece}\033\\"
    return sequence
