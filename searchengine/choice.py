"""Which encoder and which detector: those asked for, else the library's own, else `auto`'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from indexer import encoders
from indexer.encoder import LazyEncoder
from indexer.errors import EncoderMismatch, UsageError
from indexer.records import DetectorRecord, EncoderRecord
from indexer.settings import Settings

if TYPE_CHECKING:
    from searchengine.detector import LazyDetector


class Choice:
    """Chooses by the settings, and makes each encoder and the detector once."""

    def __init__(self, settings: Settings, announce: Callable[[str], None]) -> None:
        self.settings = settings
        self.announce = announce
        self._encoders: dict[str, LazyEncoder] = {}
        self._detector: LazyDetector | None = None
        self._chosen: encoders.EncoderSpec | None = None

    def detector(self, known: Sequence[DetectorRecord]) -> LazyDetector:
        """`known` have looked at the library, the most used one first.

        Raises UnknownDetector, DetectorError.
        """
        from searchengine import detectors

        if self._detector is None:
            options: dict[str, Any] = {"device": self.settings.device, "announce": self.announce}
            if self.settings.detector != "auto":
                self._detector = detectors.lazy_detector(self.settings.detector, **options)
            elif known:
                self._detector = detectors.remembered_detector(
                    known[0].key, known[0].name, **options
                )
            else:
                name = detectors.choose_auto(announce=self.announce)
                self._detector = detectors.lazy_detector(name, **options)
        return self._detector

    def searching_encoder(
        self, default: EncoderRecord, held: Sequence[EncoderRecord]
    ) -> tuple[EncoderRecord, LazyEncoder]:
        """The one asked for among those the library holds, without a wish its default.

        Raises EncoderMismatch for one that it does not hold, UsageError.
        """
        if self.settings.encoder == "auto":
            self._refuse_lone_checkpoint()
            spec = encoders.EncoderSpec(**default.spec)
            if encoders.encoder_id(spec) != default.key:
                raise EncoderMismatch(
                    f"This library was indexed with {default.key}; this version of searchengine "
                    f"has {encoders.encoder_id(spec)}. Run: searchengine index"
                )
            return default, self._lazy(spec)
        spec = self._named_spec()
        key = encoders.encoder_id(spec)
        record = next((record for record in held if record.key == key), None)
        if record is None:
            raise EncoderMismatch(
                f"This library was indexed with {', '.join(record.key for record in held)}; "
                f"--encoder says {self.settings.encoder}. "
                f"Run: searchengine index --encoder {self.settings.encoder}"
            )
        return record, self._lazy(spec)

    def indexing_encoder(self, default: EncoderRecord | None) -> LazyEncoder:
        """The one asked for, else the library's default, else `auto`'s. Raises UsageError."""
        if self.settings.encoder != "auto":
            return self._lazy(self._named_spec())
        self._refuse_lone_checkpoint()
        if default is not None:  # a library remembers its encoder; auto never changes it
            return self._lazy(encoders.EncoderSpec(**default.spec))
        if self._chosen is None:  # asked once: the hub may take seconds to answer
            self._chosen = encoders.choose_auto(
                cache_dir=self.settings.cache_dir,
                announce=self.announce,
                precision=self.settings.precision,
            )
        return self._lazy(self._chosen)

    def _refuse_lone_checkpoint(self) -> None:
        if self.settings.checkpoint:
            raise UsageError(
                "--checkpoint needs the architecture its weights belong to. "
                f"Run it with: --encoder NAME --checkpoint {self.settings.checkpoint}"
            )

    def _named_spec(self) -> encoders.EncoderSpec:
        return encoders.resolve(
            self.settings.encoder,
            checkpoint=self.settings.checkpoint,
            precision=self.settings.precision,
            cache_dir=self.settings.cache_dir,
        )

    def _lazy(self, spec: encoders.EncoderSpec) -> LazyEncoder:
        key = encoders.encoder_id(spec)
        if key not in self._encoders:
            options = encoders.EncoderOptions(
                runtime=self.settings.runtime,
                device=self.settings.device,
                cache_dir=self.settings.cache_dir,
            )
            self._encoders[key] = LazyEncoder(
                key,
                asdict(spec),
                lambda: encoders.build_encoder(spec, options, announce=self.announce),
            )
        return self._encoders[key]
