"""`predictd unit`: the systemd units of this installation, shown or written."""

import getpass
import os
import pwd
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Predictd


def test_unit_prints_both_files(predictd: Predictd, data: Path) -> None:
    """Both files are shown; the service names every path in full, the socket an address."""
    outcome = predictd("unit", "--host", "localhost", "--port", "9000")
    assert outcome.code == 0
    assert f"serve --data {data} --host localhost --port 9000" in outcome.out
    assert "# predictd.socket" in outcome.out
    assert ":9000" in outcome.out
    assert set(predictd("unit", "--json").json) == {"predictd.service", "predictd.socket"}


def test_unit_writes_both_files(predictd: Predictd, data: Path, tmp_path: Path) -> None:
    """`--to` writes them, and says how to start them."""
    outcome = predictd("unit", "--to", str(tmp_path / "units"))
    assert {each.name for each in (tmp_path / "units").iterdir()} == {
        "predictd.service",
        "predictd.socket",
    }
    assert "enable --now predictd.service predictd.socket" in outcome.out
    (tmp_path / "file").touch()
    refused = predictd("unit", "--to", str(tmp_path / "file"))
    assert (refused.code, "cannot write the units" in refused.err) == (1, True)


def test_settings_of_a_file(predictd: Predictd, data: Path, tmp_path: Path) -> None:
    """The file's port and grace count here, and the file is read again at each start."""
    config = tmp_path / "predictd.toml"
    config.write_text('port = 9001\nhost = "::1"\nshutdown_grace = 60\n')
    units = predictd("unit", "--config", str(config), "--json").json
    assert "ListenStream=[::1]:9001" in units["predictd.socket"]
    assert f"--config {config}" in units["predictd.service"]
    assert "TimeoutStopSec=70s" in units["predictd.service"]


def test_an_account(predictd: Predictd, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--user` makes a system unit that runs as that account, on its own data folder."""
    monkeypatch.delenv("PREDICTD_DATA")
    name = getpass.getuser()
    service = predictd("unit", "--user", name, "--json").json["predictd.service"]
    assert f"User={name}\n" in service
    assert f"--data {pwd.getpwuid(os.geteuid()).pw_dir}/.local/share/predictd" in service
    assert predictd("unit", "--user", "no-such-account").code == 2


def test_a_unit_that_would_not_start(predictd: Predictd, data: Path) -> None:
    """Beyond loopback a unit needs TLS or `--allow-plain-http`, which then is in it."""
    refused = predictd("unit", "--host", "0.0.0.0")
    assert (refused.code, "allow_plain_http" in refused.err) == (2, True)
    outcome = predictd("unit", "--host", "0.0.0.0", "--allow-plain-http")
    assert (outcome.code, "--allow-plain-http" in outcome.out) == (0, True)


@pytest.mark.parametrize("flags", [("--port", "0"), ("--host", "no.such.host.invalid")])
def test_unit_refuses_port_0_and_unknown_hosts(
    predictd: Predictd, data: Path, flags: tuple[str, ...]
) -> None:
    """A port that changes, or a name without an address, is refused."""
    assert predictd("unit", *flags).code == 2
