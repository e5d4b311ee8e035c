"""`searchengine doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from searchengine.commands.options import json_option, library_option

MARKS = {"fine": "ok", "note": "--", "broken": "!!"}


@click.command()
@library_option
@click.option("--offline", is_flag=True, help="Do not ask the model hub.")
@json_option
def doctor(library: Path | None, offline: bool, as_json: bool) -> int:
    """Check Python, packages, device, disk, hub and encoders, and say how to mend what is broken.

    Exits with 3 if something is broken.
    """
    from indexer.settings import load_settings
    from searchengine.doctor import run_checks

    checks = []
    for check in run_checks(load_settings(library=library), offline=offline):
        checks.append(check)
        if not as_json:
            click.echo(f"{MARKS[check.state]}  {check.name:<16} {check.detail}")
            if check.mend:
                click.echo(f"    mend: {check.mend}")
    broken = [check for check in checks if check.state == "broken"]
    if as_json:
        report = {"broken": len(broken), "checks": [asdict(check) for check in checks]}
        click.echo(json.dumps(report))
    elif broken:
        click.echo(f"{len(broken)} of {len(checks)} checks found something broken.")
    else:
        click.echo("All is well.")
    return 3 if broken else 0
