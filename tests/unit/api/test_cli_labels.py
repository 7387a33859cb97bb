"""Which attachments a command tells of, by labels, and in which words; and how a shell completes their names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from netplumb.api.cli import completion
from netplumb.models.status import AttachmentView
from netplumb.reconciler.main import app
from tests.unit.api.fake import FakeWorkloads, view
from tests.unit.api.test_cli import Netplumb, netplumb, served

__all__ = ["netplumb"]


def labelled(workload_id: str, if_name: str = "eth0", **labels: str) -> AttachmentView:
    it = view(workload_id, if_name)
    spec = it.attachment.spec.model_copy(update={"labels": labels})
    return replace(it, attachment=it.attachment.model_copy(update={"spec": spec}))


@pytest.fixture
def workloads() -> FakeWorkloads:
    return FakeWorkloads(
        labelled("web-1", app="web"), labelled("web-1", "eth1", app="web", net="b"), labelled("db-1", app="db")
    )


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=web", ["web-1/eth0", "web-1/eth1"]),
        ("app!=web", ["db-1/eth0"]),
        ("app in (web),!net", ["web-1/eth0"]),
        ("app=none", []),
    ],
)
def test_listings_are_of_the_labels_that_were_asked_for(netplumb: Netplumb, selector: str, names: list[str]) -> None:
    """By `list` and by `get` without a name, in the names that other commands take."""
    for command in ("list", "get"):
        assert netplumb(command, "-l", selector, "-o", "name").stdout.splitlines() == names


def test_a_selector_that_is_none_is_wrong_usage(netplumb: Netplumb) -> None:
    result = netplumb("list", "-l", "app in web")
    assert result.exit_code == 2
    assert "selector: 'app in web' is not like app=web" in result.stderr


def test_wide_tells_more_in_a_line(netplumb: Netplumb) -> None:
    assert "LABELS" not in netplumb("list").stdout
    header, db, *_ = netplumb("list", "-o", "wide").stdout.splitlines()
    assert header.split()[-5:] == ["LABELS", "PORTS", "LIMITS", "MAC", "DENIED"]
    assert "app=db" in db
    assert len(netplumb("get", "db-1", "-o", "wide").stdout.splitlines()) == 2


def test_get_without_a_workload_lists_and_with_one_takes_no_labels(netplumb: Netplumb) -> None:
    assert len(json.loads(netplumb("get", "-o", "json").stdout)) == 3
    assert netplumb("get", "web-1", "-l", "app=web").exit_code == 2
    assert netplumb("get", "--if-name", "eth1").exit_code == 2


def test_a_shell_completes_the_names_of_workloads(workloads: FakeWorkloads, socket_path: Path) -> None:
    """Of an interface that is not eth0 with its name, and with a slash each."""
    context = SimpleNamespace(params={"socket": socket_path})
    with capture_logs(), served(workloads, socket_path):
        assert completion.workloads(context, "") == ["db-1", "web-1", "web-1/eth1"]
        assert completion.workloads(context, "we") == ["web-1", "web-1/eth1"]
        assert completion.workloads(context, "web-1/") == ["web-1/eth0", "web-1/eth1"]
    assert completion.workloads(context, "") == []  # nobody answers any more


@pytest.mark.parametrize("command", ["get", "detach", "describe", "check", "events", "wait"])
def test_every_command_that_takes_a_workload_completes_it(
    workloads: FakeWorkloads, socket_path: Path, command: str
) -> None:
    """Asked as bash asks."""
    environ = {"_NETPLUMB_COMPLETE": "complete_bash", "COMP_WORDS": f"netplumb {command} d", "COMP_CWORD": "2"}
    with capture_logs(), served(workloads, socket_path):
        result = CliRunner().invoke(app, [], prog_name="netplumb", env={**environ, "NETPLUMB_SOCKET": str(socket_path)})
    assert result.stdout.split() == ["db-1"]
