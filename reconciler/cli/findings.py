"""Prints findings, for people and for scripts. Commands stand on a line of their own, unwrapped, to be copied."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from netplumb.api.cli.lines import columns
from netplumb.reconciler.doctor.findings import Finding, Severity

_STYLES = {Severity.BROKEN: "bold red", Severity.RISK: "bold yellow"}
_INDENT = 2


def show(findings: Sequence[Finding], unread: Sequence[str], output: str) -> None:
    if output == "table":
        _for_people(findings, unread)
        return
    data = {"findings": [finding.plain() for finding in findings], "unread": list(unread)}
    if output == "json":
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    else:
        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.default_flow_style = False
        yaml.dump(data, sys.stdout)


def _for_people(findings: Sequence[Finding], unread: Sequence[str]) -> None:
    console = Console(width=columns(sys.stdout), highlight=False)
    for finding in findings:
        console.print(
            Text.assemble((finding.severity.upper(), _STYLES[finding.severity]), f"  {finding.check}: {finding.what}")
        )
        console.print(Padding(Text(finding.why, style="dim"), (0, 0, 0, _INDENT), expand=False))
        console.print(" " * _INDENT + "heal: ", end="")
        console.print(Text(finding.heal), soft_wrap=True)
        console.print()
    for each in unread:
        console.print(Text(f"not looked at: {each}", style="dim"))
    broken = sum(finding.severity is Severity.BROKEN for finding in findings)
    if findings:
        console.print(f"{len(findings)} found: {broken} broken, {len(findings) - broken} at risk.")
    else:
        console.print("Nothing found." if not unread else "Nothing found in what was looked at.")
