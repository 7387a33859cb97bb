"""Where settings come from: defaults, file, environment, flags; and the commands that show them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from netplumb.models.settings import Settings
from netplumb.reconciler.cli import config as settings_commands
from netplumb.reconciler.settings import configuration
from netplumb.reconciler.settings.configuration import ConfigurationError, load

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "netplumb.yaml"


@pytest.fixture(autouse=True)
def _no_default_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "DEFAULT_CONFIG", tmp_path / "default.yaml")


def refused(file: Path | None, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load({}, file, environ)
    return caught.value.lines


def test_without_anything_all_is_default() -> None:
    loaded = load({}, None, {})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}


def test_flags_win_over_variables_over_the_file_over_defaults(file: Path) -> None:
    file.write_text("# comment\nresync_s: 1\nmtu: 1300\nlog_level: debug\n")
    environ = {"NETPLUMB_RESYNC_S": "2", "NETPLUMB_MTU": "1400"}
    loaded = load({"resync_s": 3.0, "masquerade": False}, file, environ)
    assert (loaded.settings.resync_s, loaded.settings.mtu, loaded.settings.log_level) == (3, 1400, "debug")
    assert loaded.origins["resync_s"] == "--resync-s"
    assert loaded.origins["masquerade"] == "--no-masquerade"
    assert loaded.origins["mtu"] == "NETPLUMB_MTU"
    assert loaded.origins["log_level"] == f"{file}:4"
    assert loaded.origins["socket"] == "default"


def test_the_default_file_is_read_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text("resync_s: 7\n")
    assert load({}, None, {}).settings.resync_s == 7


def test_pools_in_a_variable_are_separated_by_commas() -> None:
    loaded = load({}, None, {"NETPLUMB_POOLS": "10.213.0.0/24, fd13::/64"})
    assert [pool.prefix for pool in loaded.settings.pools] == ["10.213.0.0/24", "fd13::/64"]


def test_an_empty_or_unknown_variable_is_let_be() -> None:
    environ = {"NETPLUMB_STATE_FILES": "", "NETPLUMB_PORT": "tcp://10.0.0.1:80"}
    assert load({}, None, environ).settings == Settings()


def test_an_unquoted_mode_in_the_file_is_octal(file: Path) -> None:
    file.write_text("socket_mode: 600\n")
    assert load({}, file, {}).settings.socket_mode == 0o600


def test_a_file_of_comments_is_empty(file: Path) -> None:
    file.write_text("# nothing\n")
    assert load({}, file, {}).settings == Settings()


def test_every_mistake_is_a_line_that_says_where(file: Path) -> None:
    file.write_text("pool:\n- 10.0.0.0/24\nresync_s: 0\npools:\n- 10.0.0.0/24\n- fd13::1/64\n")
    assert sorted(refused(file, NETPLUMB_MTU="7")) == [
        f"{file}:1: pool: is unknown; did you mean pools?",
        f"{file}:3: resync_s: must be greater than 0",
        f"{file}:6: pools[1]: fd13::1/64 has host bits set",
        "NETPLUMB_MTU: must be 0 or 1280 to 65535",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [", ":1: while parsing a flow node expected the node content, but found '<stream end>'"),
        ("resync_s: 1\nresync_s: 2\n", ":2: resync_s is given twice, first in line 1"),
        ("resync_s: 1\n---\nmtu: 0\n", ":3: a second document; settings are a single one"),
        ("- resync_s\n", ":1: must be a mapping of settings"),
        ('"\\uD800": x\n', ":1: must be text that UTF-8 can hold"),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(file: Path, text: str, mistake: str) -> None:
    file.write_text(text)
    assert refused(file) == [f"{file}{mistake}"]


def test_a_refused_file_hides_no_mistake_elsewhere(file: Path) -> None:
    file.write_text("resync_s: 1\nresync_s: 2\n")
    assert refused(file, NETPLUMB_MTU="7") == [
        f"{file}:2: resync_s is given twice, first in line 1",
        "NETPLUMB_MTU: must be 0 or 1280 to 65535",
    ]


def test_a_file_without_end_is_refused() -> None:
    assert refused(Path("/dev/zero")) == ["/dev/zero: is larger than 1048576 bytes"]


def test_a_named_file_must_be_there(file: Path) -> None:
    assert refused(file) == [f"{file}: No such file or directory"]


def test_the_example_file_states_every_default() -> None:
    example = REPOSITORY / "config/netplumb.yaml"
    loaded = load({}, example, {})
    assert loaded.settings == Settings()
    assert {origin.rpartition(":")[0] for origin in loaded.origins.values()} == {str(example)}


class TestCommands:
    @pytest.fixture
    def app(self) -> typer.Typer:
        app = typer.Typer()
        settings_commands.register(app)
        return app

    def test_config_show_names_each_origin(self, app: typer.Typer, file: Path) -> None:
        file.write_text("pools: [10.213.0.0/24, {cidr: 'fd13::/64', reserved: ['fd13::5']}]\n")
        result = CliRunner().invoke(app, ["config", "show", "--config", str(file), "--no-masquerade"])
        assert result.exit_code == 0, result.output
        rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in result.stdout.splitlines()}
        assert rows["SETTING"].split() == ["VALUE", "FROM"]
        assert rows["pools"].rstrip().startswith("10.213.0.0/24, fd13::/64 (reserved fd13::5)")
        assert rows["pools"].rstrip().endswith(f"{file}:1")
        assert rows["masquerade"].split() == ["false", "--no-masquerade"]
        assert rows["socket_mode"].split() == ["0660", "default"]

    @pytest.mark.parametrize("output", ["json", "yaml"])
    def test_config_show_speaks_to_scripts(self, app: typer.Typer, output: str) -> None:
        result = CliRunner().invoke(app, ["config", "show", "-o", output, "--pool", "10.213.0.0/24"])
        data = json.loads(result.stdout) if output == "json" else YAML(typ="safe").load(result.stdout)
        assert data.keys() == Settings.model_fields.keys()
        assert data["pools"] == {"value": ["10.213.0.0/24"], "from": "--pool"}

    def test_bad_settings_exit_2_with_a_line_each(self, app: typer.Typer) -> None:
        environ = {"NETPLUMB_MTU": "1"}
        result = CliRunner().invoke(app, ["config", "show", "--pool", "x", "--resync-s", "-1"], env=environ)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.splitlines() == [
            "--pool: 'x' does not appear to be an IPv4 or IPv6 network",
            "--resync-s: must be greater than 0",
            "NETPLUMB_MTU: must be 0 or 1280 to 65535",
        ]
