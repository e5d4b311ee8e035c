"""Pictures in the terminal: which terminal, and that what is sent is the picture."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from conftest import make_picture
from PIL import Image

from searchengine.commands.thumbnails import SIDE_PX, protocol, thumbnail


def test_the_terminal_is_known_by_what_it_says() -> None:
    assert protocol({"TERM": "xterm-kitty"}) == "kitty"
    assert protocol({"KITTY_WINDOW_ID": "1", "TERM": "xterm-256color"}) == "kitty"
    assert protocol({"TERM_PROGRAM": "iTerm.app"}) == "iterm"
    assert protocol({"TERM": "xterm-256color"}) is None
    assert protocol({}) is None


def test_what_is_sent_is_the_picture(tmp_path: Path) -> None:
    path = make_picture(tmp_path / "a.png", "red", size=(1200, 900))
    kitty = thumbnail(str(path), "kitty") or ""
    pieces = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", kitty)
    assert pieces[0][0].startswith("f=100,a=T,")
    assert pieces[-1][0].endswith("m=0")
    sent = [base64.b64decode("".join(piece for _, piece in pieces))]
    iterm = thumbnail(str(path), "iterm") or ""
    sent.append(base64.b64decode(iterm.partition(":")[2].removesuffix("\a")))
    for data in sent:
        picture = Image.open(io.BytesIO(data))
        assert picture.height <= SIDE_PX
        assert picture.getpixel((10, 10)) == (255, 0, 0)


def test_a_picture_that_is_gone_has_no_thumbnail(tmp_path: Path) -> None:
    assert thumbnail(str(tmp_path / "gone.png"), "kitty") is None
