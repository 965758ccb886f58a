"""The settings: one frozen record, read once.

A flag wins over the environment (`PREDICTD_<NAME>`), that over the TOML file, that over the
default. Nothing else reads the environment. Durations are seconds, sizes bytes (a text may say
"5MiB"). The README's table of settings is tested against `DESCRIPTIONS`.

What nobody has set so can be changed while the gateway runs, as far as `TAKES_EFFECT` has it.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

MIB = 1024 * 1024


class SettingsError(Exception):
    """A setting that cannot be used; the message names it, where it came from and what fits."""


def default_data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the data lies unless somebody says otherwise."""
    home = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "predictd"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one gateway runs. `DESCRIPTIONS` says what each field means."""

    data: Path = msgspec.field(default_factory=default_data_folder)
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    trusted_proxies: list[str] = []
    allowed_hosts: list[str] = []
    plain_http: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    python: str = ""
    model_request_timeout: float = 30.0
    model_start_timeout: float = 60.0
    restart_on_exception: bool = True
    max_requests: int = 0
    max_memory: int = 0
    request_limit: int = 5 * MIB
    reply_limit: int = 32 * MIB
    unfinished_bytes: int = 256 * MIB
    connections: int = 10_000
    connections_per_address: int = 5_000
    queue_requests: int = 1000
    queue_bytes: int = 64 * MIB
    queue_requests_total: int = 4000
    queue_bytes_total: int = 256 * MIB
    upload_limit: int = 1024 * MIB
    processes: int = 512
    disk_limit: int = 4096 * MIB
    disk_reserve: int = 256 * MIB
    project_disk: int = 0
    metrics_age: float = 365.0
    metrics_size: int = 512 * MIB
    build_timeout: float = 1800.0
    build_memory: int = 0
    build_cpu: float = 0.0
    build_processes: int = 4096
    build_disk: int = 16 * 1024 * MIB
    concurrent_builds: int = 2
    concurrent_experiments: int = 2
    max_replicas: int = 9
    project_replicas: int = 90
    users_may_create_models: bool = True
    users_may_create_projects: bool = True
    shutdown_grace: float = 3.0
    access_log: str = ""
    isolation: Literal["auto", "root", "user", "landlock", "none"] = "auto"
    readable: list[str] = []
    environment: dict[str, str] = {}

    @property
    def scheme(self) -> str:
        """Of the URLs under which this gateway is reached."""
        return "https" if self.tls_certificate else "http"


DESCRIPTIONS = {
    "data": "the folder of everything predictd keeps",
    "host": "the address to listen on; loopback unless you say otherwise",
    "port": "the port to listen on; 0 takes a free one",
    "public_url": "where clients reach this gateway, such as `https://models.example.org`",
    "trusted_proxies": "addresses or networks of reverse proxies that may say whose requests are",
    "allowed_hosts": "names in `Host` that the admin API answers to, beside those it has anyway",
    "plain_http": "whether it may listen beyond this machine without TLS; without, it does not",
    "tls_certificate": "path of a certificate chain (PEM); with `tls_key` it turns TLS on",
    "tls_key": "path of the certificate's private key (PEM, without a passphrase)",
    "python": "path of what kernel `python3` means; default the interpreter that runs predictd",
    "model_request_timeout": "how long a request waits for a replica, and how long it then may run",
    "model_start_timeout": "how long a replica may take to run its model file",
    "restart_on_exception": "whether a replica whose function raised is replaced",
    "max_requests": "after how many requests a replica is replaced; 0 means never",
    "max_memory": "above how much resident memory a replica is replaced; 0 means never",
    "request_limit": "the largest body of a model request",
    "reply_limit": "the largest return value of a model, as JSON",
    "unfinished_bytes": "how many bytes of requests may be coming in, and of answers going out",
    "connections": "how many clients may be connected",
    "connections_per_address": "how many of them from one address, /64 of IPv6, or local user",
    "queue_requests": "how many requests may wait for one deployment",
    "queue_bytes": "how many bytes of requests may wait for one deployment",
    "queue_requests_total": "how many requests may wait for all deployments together",
    "queue_bytes_total": "how many bytes of requests may wait for all deployments together",
    "upload_limit": "the largest upload of project files",
    "processes": "how many processes and threads one replica may have",
    "disk_limit": "how much one replica may write into its working copy, and into one file",
    "disk_reserve": "when less is free, builds, deployments, projects and uploads are refused",
    "project_disk": "how much one project may keep in the data folder; 0 means half of its disk",
    "metrics_age": "how many days metrics of predictions are kept",
    "metrics_size": "how much room they may take, at least 1MiB; the oldest of the project with"
    " most go for new ones",
    "build_timeout": "how long one build may take",
    "build_memory": "how much memory one build may take; 0 means half of what models may",
    "build_cpu": "how many cores one build may use; 0 means half of those there are",
    "build_processes": "how many processes and threads one build may have",
    "build_disk": "how much one build may write, and into one file; a clone as well",
    "concurrent_builds": "how many builds run at once; as many again for idle projects",
    "concurrent_experiments": "how many experiments run at once; as many again for idle projects",
    "max_replicas": "how many replicas one deployment may have",
    "project_replicas": "how many replicas the models of one project may have together",
    "users_may_create_models": "whether others than site administrators make models",
    "users_may_create_projects": "whether others than site administrators make projects",
    "shutdown_grace": "how long a stopping gateway waits for requests it has begun to answer",
    "access_log": "path of a file that gets a line for each answered request",
    "isolation": "how models and builds are confined: a level, or the strongest that works here",
    "readable": "folders that every model and build may read, such as data sets",
    "environment": "variables that every build and every model sees",
}

_NOW = "at once"
_NEXT_REPLICA = "for replicas that start from then on"
_NEXT_BUILD = "for builds that begin from then on"
_NEXT_DEPLOYMENT = "for builds and deployments that begin from then on"
_NEXT_REQUEST = "for requests that come from then on"

# When a change at run time is felt. All others are read at the start only.
TAKES_EFFECT = {
    "model_request_timeout": _NEXT_REQUEST,
    "model_start_timeout": _NEXT_REPLICA,
    "restart_on_exception": _NOW,
    "max_requests": _NOW,
    "max_memory": _NOW,
    "request_limit": _NEXT_REQUEST,
    "reply_limit": _NEXT_REPLICA,
    "unfinished_bytes": _NOW,
    "connections": _NOW,
    "connections_per_address": _NOW,
    "queue_requests": _NOW,
    "queue_bytes": _NOW,
    "queue_requests_total": _NOW,
    "queue_bytes_total": _NOW,
    "upload_limit": _NEXT_REQUEST,
    "processes": _NEXT_REPLICA,
    "disk_limit": _NEXT_REPLICA,
    "disk_reserve": _NOW,
    "project_disk": _NOW,
    "build_timeout": _NEXT_BUILD,
    "build_memory": _NEXT_BUILD,
    "build_cpu": _NEXT_BUILD,
    "build_processes": _NEXT_BUILD,
    "build_disk": _NEXT_BUILD,
    "concurrent_builds": _NOW,
    "concurrent_experiments": _NOW,
    "max_replicas": _NEXT_DEPLOYMENT,
    "project_replicas": _NEXT_DEPLOYMENT,
    "users_may_create_models": _NOW,
    "users_may_create_projects": _NOW,
    "environment": _NEXT_DEPLOYMENT,
}

# The settings for which a text may say "5MiB".
SIZES = {
    "max_memory",
    "request_limit",
    "reply_limit",
    "queue_bytes",
    "queue_bytes_total",
    "unfinished_bytes",
    "upload_limit",
    "disk_limit",
    "disk_reserve",
    "project_disk",
    "metrics_size",
    "build_memory",
    "build_disk",
}

# Those that may be 0, which means none or never.
_MAY_BE_ZERO = {"shutdown_grace", "max_requests", "max_memory"}
_MAY_BE_ZERO |= {"build_memory", "build_cpu", "project_disk"}

# Those that have to be at least so much: what one row of metrics takes has to fit several times.
_LEAST: dict[str, float] = {"metrics_size": MIB}
# What every program that reads JSON can hold.
_MOST = 1 << 53
# The settings that are lists, and what is between the parts of a text.
_SEPARATORS = {"readable": ":", "allowed_hosts": ",", "trusted_proxies": ","}

_PUBLIC_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/.*)?)",
    re.IGNORECASE,
)
# All variables of a site, a project or a deployment together, as JSON.
_VARIABLES_BYTES = 256 * 1024

_UNITS = {"": 1, "b": 1, "k": 1000, "m": 1000**2, "g": 1000**3}
_UNITS |= {"kib": 1024, "mib": MIB, "gib": 1024 * MIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def parse_size(text: str) -> int:
    """Bytes: "5MiB", "2 GB", "1000". Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is not a size such as 512MiB or 2GiB")
    return int(min(float(match[1]) * _UNITS[match[2].lower()], 2.0 * _MOST))


class LoadedSettings(NamedTuple):
    """The settings at the start; `sources` says where each that is no default was set, and `config`
    is the file that was read."""

    settings: Settings
    sources: dict[str, str]
    config: Path | None = None


def load(
    flags: Mapping[str, object],
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings at the start. Flags that are None do not count. Raises SettingsError."""
    return read(flags, config, environment).settings


def read(
    flags: Mapping[str, object],
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> LoadedSettings:
    """The same, with where they are from."""
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, values in (
        (str(config), _from_file(config)),
        ("the environment", _from_environment(environment)),
        ("the command line", {k: v for k, v in flags.items() if v is not None}),
    ):
        for name, value in values.items():
            merged[name] = _convert(name, value, source)
            sources[name] = source
    settings = Settings(**{"data": default_data_folder(environment)} | merged)
    _check_readable(settings)
    return LoadedSettings(settings, sources, config)


def _check_readable(settings: Settings) -> None:
    """What everybody may read has nothing to do with what nobody may see."""
    data = settings.data.resolve()
    for folder in settings.readable:
        real = Path(folder).resolve()
        if real.is_relative_to(data) or data.is_relative_to(real):
            raise SettingsError(
                f"readable = {folder!r}: the data folder {data} is in it, or around"
            )


def _from_file(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read {config}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config} is not TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    # The name that CDSW's administrators know.
    if seconds := environment.get("MODEL_REQUEST_TIMEOUT_SECONDS"):
        found["model_request_timeout"] = seconds
    for name in Settings.__struct_fields__:
        if name != "environment" and (value := environment.get(f"PREDICTD_{name.upper()}")):
            found[name] = value
    return found


def _convert(name: str, value: object, source: str) -> object:
    if name not in Settings.__struct_fields__:
        known = ", ".join(Settings.__struct_fields__)
        raise SettingsError(f"{source} sets {name!r}, which is no setting; there are: {known}")
    try:
        return parse_value(name, value)
    except ValueError as error:
        # The values of variables may be secrets.
        told = name if name == "environment" else f"{name} = {value!r}"
        raise SettingsError(f"{source} sets {told}: {error}") from error


def parse_value(name: str, value: object) -> Any:
    """The value as the setting has it. Raises ValueError saying what would fit."""
    kinds = {f.name: f.type for f in msgspec.structs.fields(Settings)}
    try:
        if name in SIZES and isinstance(value, str):
            return _check(name, parse_size(value))
        return _check(name, _as_kind(name, kinds[name], value))
    except (msgspec.ValidationError, RuntimeError) as error:
        raise ValueError(str(error)) from error


def _as_kind(name: str, kind: Any, value: object) -> Any:
    if kind is Path:
        return Path(str(value)).expanduser().absolute()
    if name in _SEPARATORS and isinstance(value, str):
        value = [each for each in value.split(_SEPARATORS[name]) if each]
    return msgspec.convert(value, kind, strict=False)


def check_variables(variables: Mapping[str, str]) -> None:
    """Raises ValueError naming an environment variable that no process could have, or where they
    are too large together."""
    for name, value in variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name of a variable")
        if name in _reserved():
            raise ValueError(f"{name} is set by the shell itself: choose another name")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{name} has a character in it that no variable can have")
    if (size := len(msgspec.json.encode(variables))) > _VARIABLES_BYTES:
        raise ValueError(f"the variables take {size} bytes; at most {_VARIABLES_BYTES} are kept")


def _reserved() -> Collection[str]:
    # Only for those who set variables: the command line starts faster without the engine.
    from workers.confinement import RESERVED

    return RESERVED


def _check_number(name: str, value: float) -> None:
    least = 0 if name in _MAY_BE_ZERO else 1e-3
    if not least <= value < float("inf"):
        raise ValueError("it must be more than 0")
    if value < _LEAST.get(name, 0):
        raise ValueError(f"it must be at least {_LEAST[name]:,}")
    if value > _MOST:
        raise ValueError("it is too large to be meant")


def _check_public_url(value: str) -> str:
    """As it is written everywhere: without a slash at its end, or the usual port."""
    if not value:
        return ""
    match = _PUBLIC_URL.fullmatch(value)
    if match is None:
        raise ValueError("it has to be like https://models.example.org, or with a port behind it")
    if match["path"] not in ("", "/"):
        raise ValueError(
            "a path is not supported: clients of models ask for /model at the top of a server, so "
            "give the gateway a name or a port of its own"
        )
    scheme, host, port = match["scheme"].lower(), match["host"].lower(), match["port"]
    if port and not 0 < int(port) <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    usual = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" + (f":{port}" if port and port != usual else "")


def _check_network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; a proxy is like 10.0.0.5, a network like 10.0.0.0/24") from None
    if not network.prefixlen:
        raise ValueError(f"{text} is everybody, and anybody could claim to be somebody else")
    return str(network)


def _check(name: str, value: Any) -> Any:
    """The value, if it makes sense. Raises ValueError saying what would."""
    if name == "port":
        if not 0 <= value <= 65535:
            raise ValueError("a port is a number from 0 to 65535")
    elif name == "public_url":
        return _check_public_url(value)
    elif name == "trusted_proxies":
        return [_check_network(each.strip()) for each in value]
    elif name == "environment":
        check_variables(value)
    elif name == "readable":
        for folder in value:
            if not Path(folder).is_absolute() or not Path(folder).is_dir():
                raise ValueError(f"{folder} is not the absolute path of a folder")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(name, value)
    return value
