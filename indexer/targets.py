"""Which folders a scan goes through, and by which rules: those asked for, and those remembered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from indexer.decode import PICTURE_SUFFIXES
from indexer.errors import UsageError
from indexer.pipeline import Target
from indexer.records import FolderRecord
from indexer.scan import ScanRules, anchored, is_under
from indexer.store import Store


@dataclass(frozen=True, slots=True)
class AddedRules:
    """What one call adds to the rules its folders have."""

    exclude: tuple[str, ...]
    include_hidden: bool
    always_excluded: tuple[str, ...]  # of the settings: for every folder, never remembered


def check_folders(paths: Sequence[str], store: Store | None) -> None:
    """Raises UsageError for what is no folder, nor was one; `store` is None without a library."""
    if not paths and not (store is not None and store.folders()):
        raise UsageError("No folder is indexed yet. Run: searchengine index ~/Pictures")
    for path in paths:
        if os.path.isdir(path):
            continue
        if os.path.exists(path):
            raise UsageError(f"{path} is a file; give the folder it lies in.")
        if store is None or not store.has_images_under(path):
            raise UsageError(f"There is no folder {path}. Check the spelling.")


def find_targets(
    store: Store, paths: Sequence[str], rules: AddedRules, *, dry_run: bool
) -> list[Target]:
    """What to scan: these folders, or all remembered ones; remembers them unless `dry_run`.

    Rules are only ever added to what a folder's own are; only `forget` takes them away. Raises
    UsageError.
    """
    remembered = {folder.path: folder for folder in store.folders()}
    targets = []
    for path in dict.fromkeys(paths or [*remembered]):
        if any(path != other and is_under(path, other) for other in paths):
            continue
        root = next((root for root in remembered if is_under(path, root)), path)
        if root != path and rules.include_hidden:
            raise UsageError(
                f"--hidden is a rule for a whole folder. Run: searchengine index --hidden {root}"
            )
        before = remembered.get(root, FolderRecord(root, (), False, None, None))
        added = list(rules.exclude)
        if root != path:
            added = [anchored(pattern, os.path.relpath(path, root)) for pattern in rules.exclude]
        absorbed = [other for other in remembered if other != root and is_under(other, root)]
        for other in absorbed:
            way = os.path.relpath(other, root)
            added += [anchored(pattern, way) for pattern in remembered.pop(other).exclude]
        folder = replace(
            before,
            exclude=tuple(dict.fromkeys((*before.exclude, *added))),
            include_hidden=before.include_hidden or rules.include_hidden,
        )
        if not dry_run and (folder != before or root not in remembered):
            store.remember_folder(
                root,
                exclude=folder.exclude,
                include_hidden=folder.include_hidden,
                absorbs=absorbed,
            )
        remembered[root] = folder
        base = root if root != path else ""
        targets.append(Target(path, _scan_rules(folder, rules), base=base))
    return targets


def _scan_rules(folder: FolderRecord, rules: AddedRules) -> ScanRules:
    exclude = (*rules.always_excluded, *folder.exclude)
    return ScanRules(PICTURE_SUFFIXES, exclude, folder.include_hidden)
