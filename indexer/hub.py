"""Asks the model hub, within seconds, whether it would serve a file."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

HUB_PATIENCE_S = 5.0


def hub_serves(
    repository: str,
    files: Sequence[str],
    *,
    endpoint: str | None = None,
    patience_s: float = HUB_PATIENCE_S,
) -> bool:
    """Whether the model hub has one of the files, found out within `patience_s` seconds."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    folder = f"{endpoint or constants.ENDPOINT}/{repository}/resolve/main"
    found: list[bool] = []

    def ask() -> None:
        found.append(any(_is_hub_file(f"{folder}/{file}", patience_s) for file in files))

    # a thread, because looking up a name knows no time limit of its own
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience_s)
    return bool(found and found[0])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None  # the hub's own answer counts, not that of its storage


def _is_hub_file(address: str, timeout_s: float) -> bool:
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s) as reply:
            headers = reply.headers
    except urllib.error.HTTPError as error:
        if error.code >= 400:
            return False
        headers = error.headers  # a redirect
    except (OSError, ValueError):
        return False
    # a captive portal answers everything, but does not know this
    return "X-Repo-Commit" in headers
