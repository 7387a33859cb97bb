"""The page for who is on call says what is: its examples are run, and what they print is what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.reconciler.doctor import checks
from tests.e2e.daemons import Daemon
from tests.e2e.doctors import run, settings_of
from tests.e2e.hosts import Host
from tests.e2e.test_readme import parsed
from tests.e2e.wishes import attach

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
DOCKER = "iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER; iptables -P FORWARD DROP"


def example(command: str) -> str:
    """What the page shows for a command."""
    shown_all: list[str] = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    (shown,) = [it for it in shown_all if it.startswith(f"$ {command}\n")]
    return shown.partition("\n")[2]


async def test_the_doctors_example(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    await client.attach(attach(web))
    node.run(f'sh -c "{DOCKER}"')
    assert run(daemon, "doctor", *settings_of(daemon)).stdout == example("netplumb doctor")


async def test_the_examples_of_a_trace(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    await client.attach(attach(web))
    own = (f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    for command in ("trace web 203.0.113.7 --port 443", "trace web 203.0.113.7 --proto udp --port 53"):
        assert run(daemon, *command.split(), *own).stdout == example(f"netplumb {command}")
        node.run(f'sh -c "{DOCKER}"', ok=False)


async def test_the_example_of_a_packet_that_is_sent(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    await client.attach(attach(web))
    node.run(f'sh -c "{DOCKER}"')
    own = (f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    command = "trace web 192.0.2.2 --port 443 --live"
    assert run(daemon, *command.split(), *own).stdout == example(f"netplumb {command}")


def named_checks() -> set[str]:
    """Each name that a finding can have, as it stands in the code."""
    source = "".join(path.read_text() for path in Path(checks.__file__).parent.glob("*.py"))
    return {*re.findall(r'(?:broken|risk|make)\(\s*"([a-z0-9-]+)"', source), "fought-over", "condition"}


def test_every_check_is_told() -> None:
    """The table of checks has each name that a finding can have, and no other."""
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE, re.MULTILINE)) == named_checks()


@pytest.mark.parametrize("line", re.findall(r"^(?!#)(?:\$ |.*?`)(netplumb [^`\n]+)", PAGE, re.MULTILINE))
def test_commands_of_the_page_exist(line: str) -> None:
    assert parsed(shlex.split(line, comments=True)[1:])
