"""All settings, from the shipped defaults through the user's file and the environment to flags.

The only place that reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from indexer.config_files import config_path
from indexer.errors import UsageError

APP_NAME = "searchengine"
ENVIRONMENT_PREFIX = "SEARCHENGINE_"

_TERMINAL_VARIABLES = ("KITTY_WINDOW_ID", "TERM", "TERM_PROGRAM")
_CHOICES = {
    "runtime": ("auto", "onnx", "torch"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("auto", "fp32", "int8"),
}
_MINIMA = {
    "candidates": 1,
    "top_k": 1,
    "batch_size": 1,
    "workers": 0,
    "max_megapixels": 0.001,
    "keep_days": 0,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run works with. The meaning of each field stands in `config/defaults.toml`."""

    library: Path
    cache_dir: Path
    encoder: str
    checkpoint: str
    runtime: str
    device: str
    precision: str
    detector: str
    candidates: int
    top_k: int
    batch_size: int
    workers: int
    max_megapixels: float
    keep_days: int
    exclude: tuple[str, ...]

    @property
    def worker_count(self) -> int:
        return self.workers or available_cores()


def available_cores() -> int:
    """Cores this process may use, which in a container is less than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def terminal() -> Mapping[str, str]:
    """What the environment tells of the terminal; the command line asks it about pictures."""
    return {name: os.environ[name] for name in _TERMINAL_VARIABLES if name in os.environ}


def user_file() -> Path:
    """Where the user's own settings are looked for."""
    return platformdirs.user_config_path(APP_NAME) / "settings.toml"


def load_settings(
    *, environment: Mapping[str, str] | None = None, file: Path | None = None, **flags: Any
) -> Settings:
    """Builds the settings; a flag that is None leaves the decision to the layers below.

    Raises UsageError for an unknown name, a wrong type, a value out of range, and a file that
    cannot be read.
    """
    environment = os.environ if environment is None else environment
    types = {field.name: field.type for field in fields(Settings)}
    values: dict[str, Any] = {
        "library": platformdirs.user_data_path(APP_NAME),
        "cache_dir": platformdirs.user_cache_path(APP_NAME),
        **tomllib.loads(config_path("defaults.toml").read_text(encoding="utf-8")),
    }
    file = file or user_file()
    for name, value in _read(file).items():
        if name not in types:
            raise UsageError(f"The settings file {file} has an unknown {name!r}; {_nearest(name)}")
        values[name] = _checked(name, value, f"{name} in {file}")
    for name in types:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environment.get(variable):
            values[name] = _checked(name, environment[variable], variable)
    for name, value in flags.items():
        if name not in types:
            raise UsageError(f"There is no setting {name!r}; {_nearest(name)}")
        if value is not None:
            values[name] = _checked(name, value, f"--{name.replace('_', '-')}")
    for name in ("library", "cache_dir"):
        values[name] = Path(os.path.abspath(os.path.expanduser(values[name])))
    values["exclude"] = tuple(values["exclude"])
    return Settings(**values)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(
            f"The settings file {file} cannot be read: {error.strerror}. "
            "Mend its permissions, or move it away."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The settings file {file} is not valid TOML: {error}") from error


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    known = [field.name for field in fields(Settings)]
    near = get_close_matches(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"


def _checked(name: str, value: Any, origin: str) -> Any:
    kind = {field.name: field.type for field in fields(Settings)}[name]
    try:
        if isinstance(value, bool):  # an int to Python, and no setting is one
            raise ValueError
        if kind == "int":
            if isinstance(value, float) and not value.is_integer():
                raise ValueError
            value = int(value)
        elif kind == "float":
            value = float(value)
        elif kind == "str" and not isinstance(value, str):
            raise ValueError
        elif kind == "Path":
            value = os.fspath(value)
        elif name == "exclude":
            if isinstance(value, str):
                value = [pattern for pattern in value.split(os.pathsep) if pattern]
            elif not all(isinstance(pattern, str) for pattern in value):
                raise ValueError
    except (TypeError, ValueError):
        names = {"int": "a whole number", "float": "a number", "Path": "a path", "str": "text"}
        kind_name = names.get(str(kind), "a list of patterns")
        raise UsageError(f"{origin} is {value!r}; it takes {kind_name}.") from None
    if name in _CHOICES and value not in _CHOICES[name]:
        raise UsageError(f"{origin} is {value!r}; it takes one of {', '.join(_CHOICES[name])}.")
    if name in _MINIMA and not value >= _MINIMA[name]:
        raise UsageError(f"{origin} is {value}; it must be at least {_MINIMA[name]}.")
    return value
