"""Settings: where each comes from, and what is said about a bad one."""

from pathlib import Path

import pytest

from gateway.setting_kinds import MIB, parse_size
from gateway.settings import OTHER_VARIABLES, Settings, SettingsError, load


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "predictd.toml"


def test_a_flag_wins_over_environment_over_file_over_default(config: Path) -> None:
    """A flag wins over the environment, that over the file, that over the default."""
    config.write_text("port = 1\nhost = 'file'\naccess_log = 'file'\n")
    environment = {"PREDICTD_PORT": "2", "PREDICTD_HOST": "environment"}
    settings = load({"port": 3, "host": None}, config, environment)
    assert (settings.port, settings.host, settings.access_log) == (3, "environment", "file")
    assert settings.max_concurrent_builds == Settings().max_concurrent_builds


def test_the_name_that_administrators_know() -> None:
    """MODEL_REQUEST_TIMEOUT_SECONDS sets the request time-out, unless our own name does."""
    known = {"MODEL_REQUEST_TIMEOUT_SECONDS": "7"}
    assert load({}, None, known).model_request_timeout == 7
    ours = {"PREDICTD_MODEL_REQUEST_TIMEOUT": "8"}
    assert load({}, None, known | ours).model_request_timeout == 8


def test_sizes_and_variables_of_the_file(config: Path) -> None:
    """Sizes may be texts with a unit; the site's variables are a table of the file."""
    config.write_text('max_request_size = "2MiB"\n[environment]\nPIP_INDEX_URL = "x"\n')
    settings = load({}, config, {})
    assert settings.max_request_size == 2 * MIB
    assert settings.environment == {"PIP_INDEX_URL": "x"}


def test_the_data_folder_follows_the_environment_given() -> None:
    """The default data folder is that of the environment that is being read."""
    assert load({}, None, {"XDG_DATA_HOME": "/x"}).data == Path("/x/predictd")


def test_a_relative_data_folder_is_made_absolute() -> None:
    """A data folder is absolute from the start: nothing depends on a later directory."""
    assert load({"data": "here"}, None, {}).data == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 * MIB), ("2 GB", 2_000_000_000), ("1000", 1000), ("1.5kib", 1536)],
)
def test_sizes(text: str, size: int) -> None:
    """A size is a number and a unit, of 1000s or of 1024s."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "name", ["recycle_after_requests", "recycle_above_memory", "shutdown_grace"]
)
def test_what_may_be_nothing(name: str) -> None:
    """Where 0 means none or never it can be said."""
    assert getattr(load({name: 0}, None, {}), name) == 0


@pytest.mark.parametrize("text", ["", "MiB", "-1", "5 parsecs", "1e3", "0x10"])
def test_sizes_refused(text: str) -> None:
    """What is no size is refused with an example of one."""
    with pytest.raises(ValueError, match="512MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", "many"),
        ("model_request_timeout", 0),
        ("model_request_timeout", float("nan")),
        ("build_timeout", float("inf")),
        ("max_concurrent_builds", 0),
        ("max_concurrent_builds", 10**30),
        ("max_disk", f"{'9' * 400}GiB"),
        ("shutdown_grace", -1),
        ("restart_on_exception", "perhaps"),
        ("environment", {"a b": "c"}),
        ("environment", {"A": "nul\0"}),
        ("environment", {"A": "\ud800"}),
        ("environment", {"A": "x" * 300_000}),
    ],
)
def test_a_bad_value_names_its_source(name: str, value: object) -> None:
    """A bad value is refused, naming the setting, the value and where it came from."""
    told = name if name == "environment" else f"{name} = "
    with pytest.raises(SettingsError, match=rf"the command line sets {told}"):
        load({name: value}, None, {})


def test_a_bad_variable_does_not_show_the_others(config: Path) -> None:
    """The values of variables may be secrets: a refusal names the variable alone."""
    config.write_text('[environment]\n"a b" = "x"\nTOKEN = "hunter2"\n')
    with pytest.raises(SettingsError, match="'a b' is not the name") as refused:
        load({}, config, {})
    assert "hunter2" not in str(refused.value)


def test_a_bad_value_of_the_environment_or_file_names_it(config: Path) -> None:
    """So is one of the environment or of the file."""
    with pytest.raises(SettingsError, match="the environment sets port"):
        load({}, None, {"PREDICTD_PORT": "http"})
    config.write_text("port = -1")
    with pytest.raises(SettingsError, match=r"predictd\.toml sets port"):
        load({}, config, {})


def test_an_unknown_name_is_refused_with_the_closest(config: Path) -> None:
    """A setting that does not exist is refused, with the one that may be meant."""
    config.write_text("prot = 1")
    with pytest.raises(SettingsError, match=r"'prot', .* not a setting; did you mean 'port'\?"):
        load({}, config, {})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "http", "an integer from 0 to 65535"),
        ("max_replicas", "0", "an integer of at least 1"),
        ("model_request_timeout", "soon", "a number of at least 0.001"),
        ("restart_on_exception", "maybe", "true or false"),
        ("isolation", "root", "one of: auto, users, userns, landlock, none"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_can_be(name: str, value: str, expected: str) -> None:
    """The message says what the setting can be, in words."""
    with pytest.raises(SettingsError, match=f": expected {expected}$"):
        load({}, None, {f"PREDICTD_{name.upper()}": value})


def test_an_unknown_variable_is_refused_and_others_are_not_settings() -> None:
    """A variable that is misspelt is refused: a limit that was ignored would be no limit."""
    with pytest.raises(SettingsError, match="the environment sets 'max_request_siz', which is not"):
        load({}, None, {"PREDICTD_MAX_REQUEST_SIZ": "1"})
    load({}, None, dict.fromkeys(OTHER_VARIABLES, "x"))


def test_a_choice_that_does_not_exist_is_refused_with_those_there_are() -> None:
    """A value that is none of the choices is refused, with the choices."""
    with pytest.raises(SettingsError, match="expected one of: auto, users, userns, landlock, none"):
        load({}, None, {"PREDICTD_ISOLATION": "root"})


@pytest.mark.parametrize("content", [b"port = ", b"\xff"])
def test_a_file_that_is_not_toml(config: Path, content: bytes) -> None:
    """A file that cannot be read as TOML is named."""
    config.write_bytes(content)
    with pytest.raises(SettingsError, match="is not TOML"):
        load({}, config, {})


def test_a_file_that_is_not_there(config: Path) -> None:
    """So is one that is not there."""
    with pytest.raises(SettingsError, match="cannot read"):
        load({}, config, {})
