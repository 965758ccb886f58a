"""The settings: one frozen record, read once.

A flag wins over the environment (`PREDICTD_<NAME>`), the environment over the TOML file, the file
over the default. Nothing else reads the environment. Durations are seconds, sizes bytes (a text may
say "5MiB").

A new setting is one field of `Settings`. REFERENCE.md has a row for each, and a test compares them.
"""

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from gateway.setting_kinds import (
    LARGEST,
    MIB,
    Amount,
    AmountOrZero,
    Bytes,
    BytesOrZero,
    Count,
    CountOrZero,
    Folders,
    Kind,
    MetricsBytes,
    Names,
    Networks,
    Port,
    PublicUrl,
    RequestRows,
    TakesEffect,
    Variables,
    parse_size,
)

IMMEDIATELY, RESTART = TakesEffect.IMMEDIATELY, TakesEffect.RESTART
NEW_REQUESTS, NEW_REPLICAS = TakesEffect.NEW_REQUESTS, TakesEffect.NEW_REPLICAS
NEW_BUILDS, NEW_DEPLOYMENTS = TakesEffect.NEW_BUILDS, TakesEffect.NEW_DEPLOYMENTS


class SettingsError(Exception):
    """A setting that cannot be used; the message names it, its source and what is allowed."""


def default_data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    home = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "predictd"


Isolation = Literal["auto", "users", "userns", "landlock", "none"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one gateway runs.

    Each field has a kind, a meaning, when a change takes effect (if it can be changed at run time),
    and a default.
    """

    data: Annotated[Path, "folder of all that predictd stores"] = msgspec.field(
        default_factory=default_data_folder
    )
    host: Annotated[str, "address to listen on"] = "127.0.0.1"
    port: Annotated[Port, "port to listen on; 0 means any free port"] = 8080
    public_url: Annotated[
        PublicUrl, "URL at which clients reach this gateway, such as `https://models.example.org`"
    ] = ""
    trusted_proxies: Annotated[
        Networks, "addresses or networks of reverse proxies that may name the client of a request"
    ] = []
    allowed_hosts: Annotated[Names, "additional names in `Host` that the admin API answers to"] = []
    allow_plain_http: Annotated[bool, "allow listening beyond this machine without TLS"] = False
    tls_certificate: Annotated[
        str, "path of a certificate chain (PEM); with `tls_key` it turns TLS on"
    ] = ""
    tls_key: Annotated[str, "path of the certificate's private key (PEM, without a passphrase)"] = (
        ""
    )
    default_python: Annotated[
        str, "path of the interpreter for kernel `python3`; default: that of predictd"
    ] = ""
    default_runtime: Annotated[
        str,
        "runtime of builds and experiments whose project has none; default: the default "
        "interpreter without packages",
        NEW_BUILDS,
    ] = ""
    model_request_timeout: Annotated[
        Amount,
        "how many seconds a request may wait for a replica, and how many it may then run",
        NEW_REQUESTS,
    ] = 30.0
    model_start_timeout: Annotated[
        Amount, "how many seconds a replica may take to run its model file", NEW_REPLICAS
    ] = 60.0
    restart_on_exception: Annotated[
        bool, "replace a replica whose function raised an exception", IMMEDIATELY
    ] = True
    recycle_after_requests: Annotated[
        CountOrZero, "replace a replica after this many requests; 0 means never", IMMEDIATELY
    ] = 0
    recycle_above_memory: Annotated[
        BytesOrZero,
        "replace a replica whose resident memory is above this; 0 means never",
        IMMEDIATELY,
    ] = 0
    max_request_size: Annotated[Bytes, "largest body of a model request", NEW_REQUESTS] = 5 * MIB
    max_response_size: Annotated[
        Bytes, "largest return value of a model, as JSON", NEW_REPLICAS
    ] = 32 * MIB
    max_inflight_bytes: Annotated[
        Bytes, "bytes of unfinished requests, and the same again for unsent responses", IMMEDIATELY
    ] = 256 * MIB
    max_connections: Annotated[Count, "connected clients", IMMEDIATELY] = 10_000
    max_connections_per_address: Annotated[
        Count, "connected clients of one address, IPv6 /64 network or local user", IMMEDIATELY
    ] = 5_000
    max_queued_requests: Annotated[
        Count, "requests that may wait for one deployment", IMMEDIATELY
    ] = 1000
    max_queued_bytes: Annotated[
        Bytes, "bytes of requests that may wait for one deployment", IMMEDIATELY
    ] = 64 * MIB
    max_queued_requests_total: Annotated[
        Count, "requests that may wait for all deployments together", IMMEDIATELY
    ] = 4000
    max_queued_bytes_total: Annotated[
        Bytes, "bytes of requests that may wait for all deployments together", IMMEDIATELY
    ] = 256 * MIB
    max_upload_size: Annotated[Bytes, "largest upload of project files", NEW_REQUESTS] = 1024 * MIB
    max_processes: Annotated[Count, "processes and threads of one replica", NEW_REPLICAS] = 512
    max_disk: Annotated[
        Bytes, "what one replica may write into its working copy, and into one file", NEW_REPLICAS
    ] = 4096 * MIB
    min_free_disk: Annotated[
        Bytes,
        "with less free space builds, deployments, projects and uploads are refused",
        IMMEDIATELY,
    ] = 256 * MIB
    warn_free_disk: Annotated[
        BytesOrZero,
        "with less free space log, /site and doctor warn, and unneeded builds go; 0 means never",
        IMMEDIATELY,
    ] = 2048 * MIB
    keep_builds: Annotated[
        Count, "latest builds of each model that are kept, besides those in use", IMMEDIATELY
    ] = 10
    keep_builds_days: Annotated[
        CountOrZero, "older builds are not kept unless in use; 0 means no limit", IMMEDIATELY
    ] = 0
    gc_hours: Annotated[
        CountOrZero,
        "hours between two automatic removals of builds that are not kept; 0 means never",
        IMMEDIATELY,
    ] = 6
    project_disk: Annotated[
        BytesOrZero,
        "disk space of one project in the data folder; 0 means half of the disk",
        IMMEDIATELY,
    ] = 0
    metrics_retention_days: Annotated[Amount, "how many days prediction metrics are kept"] = 365.0
    metrics_max_size: Annotated[
        MetricsBytes,
        "disk space of prediction metrics; the oldest of the largest project are deleted first",
    ] = 512 * MIB
    request_log_rows: Annotated[
        RequestRows, "latest requests of each model that are listed; 0 means none", IMMEDIATELY
    ] = 1000
    request_log_days: Annotated[
        Amount, "how many days a request stays in the list", IMMEDIATELY
    ] = 14.0
    build_timeout: Annotated[Amount, "how many seconds one build may take", NEW_BUILDS] = 1800.0
    build_memory: Annotated[
        BytesOrZero, "memory of one build; 0 means half of what models may use", NEW_BUILDS
    ] = 0
    build_cpu: Annotated[
        AmountOrZero, "cores of one build; 0 means half of the machine's", NEW_BUILDS
    ] = 0.0
    build_processes: Annotated[Count, "processes and threads of one build", NEW_BUILDS] = 4096
    build_disk: Annotated[
        Bytes, "what one build or clone may write, and into one file", NEW_BUILDS
    ] = 16 * 1024 * MIB
    max_concurrent_builds: Annotated[
        Count, "builds that run at once, and the same again for idle projects", IMMEDIATELY
    ] = 2
    max_concurrent_experiments: Annotated[
        Count, "experiments that run at once, and the same again for idle projects", IMMEDIATELY
    ] = 2
    max_experiment_files: Annotated[
        CountOrZero, "new and changed files that one experiment keeps; 0 means none", IMMEDIATELY
    ] = 1000
    max_experiment_size: Annotated[
        Bytes, "bytes of the new and changed files that one experiment keeps", IMMEDIATELY
    ] = 1024 * MIB
    max_replicas: Annotated[Count, "replicas of one deployment", NEW_DEPLOYMENTS] = 9
    project_replicas: Annotated[Count, "replicas of all models of one project", NEW_DEPLOYMENTS] = (
        90
    )
    project_gpus: Annotated[
        CountOrZero,
        "GPUs of all models, experiments and sessions of one project; 0 means no limit",
        NEW_DEPLOYMENTS,
    ] = 0
    users_may_create_models: Annotated[
        bool, "users who are not site administrators may create models", IMMEDIATELY
    ] = True
    users_may_create_projects: Annotated[
        bool, "users who are not site administrators may create projects", IMMEDIATELY
    ] = True
    shutdown_grace: Annotated[
        AmountOrZero, "how long a stopping gateway waits for requests that it has begun to answer"
    ] = 3.0
    access_log: Annotated[str, "path of a file that gets a line for each answered request"] = ""
    isolation: Annotated[
        Isolation,
        "isolation level of models and builds; `auto` means the strongest that works here",
    ] = "auto"
    shared_folders: Annotated[
        Folders, "folders that all models and builds may read, such as data sets"
    ] = []
    environment: Annotated[
        Variables, "environment variables of all builds and models", NEW_DEPLOYMENTS
    ] = {}

    @property
    def scheme(self) -> str:
        """Of the URLs under which this gateway is reached."""
        return "https" if self.tls_certificate else "http"


# Variables with our prefix that are not settings: of the command line, and of processes of ours.
OTHER_VARIABLES = {
    *("PREDICTD_URL", "PREDICTD_CONTEXT", "PREDICTD_API_KEY"),
    *("PREDICTD_TREE", "PREDICTD_RUN_METRICS"),
}


class SettingInfo(NamedTuple):
    """One field of `Settings`. `bounded` is its type with its bounds, `type` without them."""

    name: str
    meaning: str
    takes_effect: TakesEffect
    type: Any
    bounded: Any
    kind: Kind

    @property
    def changeable(self) -> bool:
        """Whether it can be changed at run time."""
        return self.takes_effect is not RESTART


def _info(field: msgspec.structs.FieldInfo) -> SettingInfo:
    base, *notes = get_args(field.type)
    (meaning,) = (each for each in notes if type(each) is str)
    takes_effect = next((each for each in notes if isinstance(each, TakesEffect)), RESTART)
    kind = next((each for each in notes if isinstance(each, Kind)), Kind())
    return SettingInfo(field.name, meaning, takes_effect, base, field.type, kind)


_KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
}
SETTINGS = {field.name: _info(field) for field in msgspec.structs.fields(Settings)}


class LoadedSettings(NamedTuple):
    """The settings at the start. `sources` says where each setting without its default was set;
    `config` is the file that was read."""

    settings: Settings
    sources: dict[str, str]
    config: Path | None = None


def load(
    flags: Mapping[str, object],
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings at the start. Flags that are None do not count. Raises SettingsError."""
    return load_with_sources(flags, config, environment).settings


def load_with_sources(
    flags: Mapping[str, object],
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> LoadedSettings:
    """The same, with the sources."""
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
    _check_shared_folders(settings)
    return LoadedSettings(settings, sources, config)


def _check_shared_folders(settings: Settings) -> None:
    """No process of a model may see the data folder."""
    data = settings.data.resolve()
    for folder in settings.shared_folders:
        real = Path(folder).resolve()
        if real.is_relative_to(data) or data.is_relative_to(real):
            raise SettingsError(
                f"shared_folders has {folder!r}, which contains the data folder {data} or is in it"
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
    # The name that administrators of CDSW know.
    if seconds := environment.get("MODEL_REQUEST_TIMEOUT_SECONDS"):
        found["model_request_timeout"] = seconds
    # All of them: a limit with a misspelt name would otherwise be no limit.
    for variable, value in environment.items():
        name = variable.removeprefix("PREDICTD_").lower()
        if variable.startswith("PREDICTD_") and variable not in OTHER_VARIABLES and value:
            found[name] = value
    return found


def _convert(name: str, value: object, source: str) -> object:
    if name not in SETTINGS:
        raise SettingsError(f"{source} sets {name!r}, which is not a setting{did_you_mean(name)}")
    try:
        return parse_value(name, value)
    except ValueError as error:
        # The values of variables may be secrets.
        shown = name if name == "environment" else f"{name} = {value!r}"
        raise SettingsError(f"{source} sets {shown}: {error}") from error


def did_you_mean(name: str) -> str:
    """The continuation of a sentence about a name that is no setting."""
    close = get_close_matches(name, SETTINGS, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def parse_value(name: str, value: object) -> Any:
    """The value as the setting stores it. Raises ValueError saying what is allowed."""
    info = SETTINGS[name]
    if info.type is Path:
        return Path(str(value)).expanduser().absolute()
    if isinstance(value, str):
        if info.kind.is_size:
            value = parse_size(value)
        elif info.kind.separator:
            value = [each for each in value.split(info.kind.separator) if each]
    try:
        converted = msgspec.convert(value, info.bounded, strict=False)
        return info.kind.check(converted) if info.kind.check else converted
    except (msgspec.ValidationError, RuntimeError) as error:
        raise ValueError(f"expected {_expected(info)}") from error


def _expected(info: SettingInfo) -> str:
    """What a setting can be, such as `an integer from 0 to 65535`."""
    if get_origin(info.type) is Literal:
        return f"one of: {', '.join(get_args(info.type))}"
    kind = _KINDS.get(info.type, "a list" if get_origin(info.type) is list else "names with values")
    bounds = next((e for e in get_args(info.bounded) if isinstance(e, msgspec.Meta)), None)
    if bounds is None or bounds.ge is None:
        return kind
    if bounds.le is None or bounds.le >= LARGEST:
        return f"{kind} of at least {bounds.ge:g}"
    return f"{kind} from {bounds.ge:g} to {bounds.le:g}"
