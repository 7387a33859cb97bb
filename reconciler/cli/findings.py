"""Prints findings, for people and for scripts. Commands stand on a line of their own, unwrapped, to be copied."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.text import Text

from netplumb.api.cli.layout import console, printer
from netplumb.reconciler.doctor.findings import Finding, Severity

_STYLES = {Severity.BROKEN: "bold red", Severity.RISK: "bold yellow"}
_INDENT = "  "


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
    out = console()
    show = printer(out)
    for finding in findings:
        severity = finding.severity
        show(Text.assemble((severity.upper(), _STYLES[severity]), f"  {finding.check}: {finding.what}"))
        show(Text(f"{_INDENT}{finding.why}", style="dim"))
        out.print(Text(f"{_INDENT}heal: {finding.heal}"), soft_wrap=True)
        out.print()
    for each in unread:
        show(Text(f"not looked at: {each}", style="dim"))
    broken = sum(finding.severity is Severity.BROKEN for finding in findings)
    if findings:
        out.print(f"{len(findings)} found: {broken} broken, {len(findings) - broken} at risk.")
    else:
        out.print("Nothing found." if not unread else "Nothing found in what was looked at.")
