"""Each row of the table of pip's options: uv serves it, or it is dropped, or pip is needed."""

from pathlib import Path

import pytest

from builder.environment.pip.inside.predictd_pip.decision import Decision, command, decide
from builder.environment.pip.inside.predictd_pip.table import BY_NAME, last_word

NOWHERE = {"PIP_CONFIG_FILE": "/dev/null"}


def decided(*arguments: str, variables: dict[str, str] = NOWHERE, folder: str = "/") -> Decision:
    return decide(arguments, variables, "/environment", folder)


SERVED = {
    "-r a.txt": "--requirements=a.txt",
    "-ra.txt": "--requirements=a.txt",
    "--requirement a.txt": "--requirements=a.txt",
    "--requirement=a.txt": "--requirements=a.txt",
    "-c a.txt": "--constraints=a.txt",
    "--constraint a.txt": "--constraints=a.txt",
    "-e .": "--editable=.",
    "--editable .[extra]": "--editable=.[extra]",
    "--build-constraint a.txt": "--build-constraints=a.txt",
    "-i http://a/simple": "--index-url=http://a/simple",
    "--index-url http://a --index-url http://b": "--index-url=http://b",
    "--pypi-url http://a": "--index-url=http://a",
    "--extra-index-url http://a": "--extra-index-url=http://a",
    "-f wheels": "--find-links=wheels",
    "--find-links wheels --no-index": "--find-links=wheels --no-index",
    "--trusted-host a": "--allow-insecure-host=a",
    "-C a=b": "--config-setting=a=b",
    "--config-settings a=b": "--config-setting=a=b",
    "--config-setting a=b": "--config-setting=a=b",
    "--group dev": "--group=dev",
    "--no-binary a,b": "--no-binary=a --no-binary=b",
    "--only-binary :all:": "--only-binary=:all:",
    "-t out": "--target=out",
    "--target out": "--target=out",
    "--prefix out": "--prefix=out",
    "--cert a.pem": "--cert=a.pem",
    "--no-deps": "--no-deps",
    "--no-dependencies": "--no-deps",
    "--pre": "--prerelease=allow",
    "-U": "--upgrade-package=name",
    "--upgrade": "--upgrade-package=name",
    "-U -r a.txt": "--upgrade --requirements=a.txt",
    "--force-reinstall": "--reinstall",
    "--no-build-isolation": "--no-build-isolation",
    "--require-hashes": "--require-hashes",
    "--dry-run": "--dry-run",
    "--no-cache-dir": "--refresh",
    "-q": "--quiet",
    "-qq": "--quiet --quiet",
    "--quiet": "--quiet",
    "-v": "--verbose",
    "--verbose": "--verbose",
    "-qUr a.txt": "--quiet --upgrade --requirements=a.txt",
}
DROPPED = [
    "--user",
    "--no-user",
    "--no-input",
    "--no-color",
    "--no-warn-script-location",
    "--no-warn-conflicts",
    "--prefer-binary",
    "--use-pep517",
    "--compile",
    "--no-compile",
    "--break-system-packages",
    "--disable-pip-version-check",
    "--no-python-version-warning",
    "--require-virtualenv",
    "--require-venv",
    "--progress-bar off",
    "--root-user-action=ignore",
    "--retries 3",
    "--resume-retries 3",
    "--cache-dir /tmp/cache",
]
NEEDS_PIP = [
    "-h",
    "--help",
    "-V",
    "--version",
    "-I",
    "--ignore-installed",
    "--ignore-requires-python",
    "--no-use-pep517",
    "--no-clean",
    "--check-build-dependencies",
    "--isolated",
    "--debug",
    "--only-deps",
    "--no-require-hashes",
    "--no-proxy-env",
    "--upgrade-strategy eager",
    "--src a",
    "--source a",
    "--root a",
    "--report a",
    "--platform a",
    "--python-version 3.9",
    "--implementation cp",
    "--abi none",
    "--global-option a",
    "--install-option a",
    "--build-option a",
    "--requirements-from-script a",
    "--all-releases a",
    "--only-final a",
    "--refresh-package a",
    "--uploaded-prior-to 2026-01-01",
    "--exists-action w",
    "--keyring-provider import",
    "--client-cert a",
    "--use-feature truststore",
    "--use-deprecated a",
    "--python python3",
    "--log pip.log",
    "--log-file pip.log",
    "--local-log pip.log",
    "--no-such-option",
    "--quiet=1",
    "-e git+https://host/a.git#egg=a",
    "hg+https://host/a",
]


def test_the_tests_name_every_option() -> None:
    """An option of the table that no test names fails this test."""
    named = " ".join([*SERVED, *DROPPED, *NEEDS_PIP, "--timeout --default-timeout --proxy"])
    assert set(BY_NAME) <= {
        word.partition("=")[0] if word.startswith("--") else word[:2] for word in named.split()
    }


@pytest.mark.parametrize(("given", "served"), SERVED.items())
def test_uv_serves_option(given: str, served: str) -> None:
    """uv is asked the same, in its own words, and the packages come last."""
    for arguments in (["install", *given.split(), "name"], [*given.split(), "install", "name"]):
        decision = decided(*arguments)
        assert (decision.served, decision.reason) == ("uv", "")
        *options, dashes, name = command(decision.pairs)
        assert sorted(options) == sorted(served.split())
        assert (dashes, name) == ("--", "name")


@pytest.mark.parametrize("given", DROPPED)
def test_option_is_dropped(given: str) -> None:
    """An option that does not change what is installed is not uv's."""
    decision = decided("install", *given.split(), "name")
    assert (decision.served, command(decision.pairs)) == ("uv", ["--", "name"])


@pytest.mark.parametrize("given", NEEDS_PIP)
def test_option_needs_pip(given: str) -> None:
    """An option that uv does not have is pip's, and so is one that is not in the table."""
    decision = decided("install", *given.split(), "name")
    assert (decision.served, decision.verb, decision.gets) == ("pip", "install", True)
    assert decision.reason


@pytest.mark.parametrize(
    ("verb", "gets"),
    [
        ("download", True),
        ("wheel", True),
        ("lock", True),
        ("uninstall", False),
        ("freeze", False),
        ("list", False),
        ("show", False),
        ("check", False),
        ("config", False),
        ("cache", False),
        ("inspect", False),
        ("hash", False),
        ("debug", False),
        ("help", False),
        ("", False),
        ("no-such-verb", False),
    ],
)
def test_verb_is_served_by_pip(verb: str, gets: bool) -> None:
    """All verbs but `install` are pip's; those that may get packages are recorded."""
    decision = decided(*filter(None, [verb, "-q"]))
    assert (decision.served, decision.gets) == ("pip", gets)


def test_project_may_ask_for_pip() -> None:
    """`PREDICTD_PIP=pip` in the project's variables asks for pip."""
    decision = decided("install", "name", variables=NOWHERE | {"PREDICTD_PIP": "pip"})
    assert (decision.served, decision.reason) == ("pip", "PREDICTD_PIP asks for pip")


@pytest.mark.parametrize(
    ("name", "value", "served"),
    [
        ("PIP_INDEX_URL", "http://a/simple", "--index-url=http://a/simple"),
        ("PIP_EXTRA_INDEX_URL", "a b", "--extra-index-url=a --extra-index-url=b"),
        ("PIP_TRUSTED_HOST", "a b", "--allow-insecure-host=a --allow-insecure-host=b"),
        ("PIP_FIND_LINKS", "a", "--find-links=a"),
        ("PIP_NO_INDEX", "1", "--no-index"),
        ("PIP_NO_INDEX", "off", ""),
        ("PIP_CONSTRAINT", "a.txt", "--constraints=a.txt"),
        ("PIP_REQUIRE_HASHES", "true", "--require-hashes"),
        ("PIP_PRE", "yes", "--prerelease=allow"),
        ("PIP_NO_CACHE_DIR", "off", ""),
        ("PIP_CACHE_DIR", "/a", ""),
        ("PIP_QUIET", "", ""),
        ("PIP_USER", "1", ""),
    ],
)
def test_variable_is_served(name: str, value: str, served: str) -> None:
    """A variable of pip is an option of pip."""
    decision = decided("install", "name", variables=NOWHERE | {name: value})
    assert decision.served == "uv"
    assert command(decision.pairs) == [*served.split(), "--", "name"]


@pytest.mark.parametrize(
    "variable",
    ["PIP_IGNORE_INSTALLED=1", "PIP_NO_BUILD_ISOLATION=0", "PIP_NO_SUCH_OPTION=1", "PIP_PRE=maybe"],
)
def test_variable_needs_pip(variable: str) -> None:
    """A variable that uv cannot serve, or that is not in the table, is pip's."""
    name, _, value = variable.partition("=")
    assert decided("install", "a", variables=NOWHERE | {name: value}).served == "pip"


def test_time_limit_and_proxy_become_variables() -> None:
    """uv takes the time-out and the proxy from variables."""
    decision = decided("--proxy", "user@host:3128", "install", "--timeout=60", "name")
    assert decision.variables["UV_HTTP_TIMEOUT"] == "60"
    assert decision.variables["HTTPS_PROXY"] == "http://user@host:3128"
    assert decided("install", "--default-timeout", "9", "a").variables == {"UV_HTTP_TIMEOUT": "9"}


def test_any_of_several_indexes_may_have_the_best_version(tmp_path: Path) -> None:
    """With more than one index uv compares all of them, as pip does."""
    (tmp_path / "a.txt").write_text("--extra-index-url http://b")
    for arguments in ("install --extra-index-url http://b a", "install -r a.txt"):
        decision = decided(*arguments.split(), folder=str(tmp_path))
        assert decision.variables == {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    assert not decided("install", "-i", "http://a", "a").variables


@pytest.mark.parametrize(
    ("text", "version", "several", "served"),
    [
        ("No solution found when resolving dependencies", (3, 11), False, "uv"),
        ("No solution found ...\nhint: `a` has a pre-release", (3, 11), False, "pip"),
        ("No solution found ... because a==1 has invalid metadata", (3, 11), False, "pip"),
        ("Because a was not found in the package registry", (3, 11), True, "pip"),
        ("No solution found when resolving dependencies: a was not found in the package registry",
         (3, 11), False, "uv"),
        ("dns error", (3, 11), True, "pip"),
        ("tcp connect error", (3, 11), True, "pip"),
        ("operation timed out", (3, 11), True, "pip"),
        ("No solution found when resolving dependencies\nhint: An index URL (a) could not be "
         "queried due to a lack of valid authentication credentials", (3, 11), False, "pip"),
        ("Hash mismatch for `a==1`", (3, 11), False, "uv"),
        ("error: File not found: a.txt", (3, 11), False, "uv"),
        ("failed to read from file `a.txt`", (3, 11), False, "uv"),
        ("No space left on device", (3, 11), False, "uv"),
        ("Disk quota exceeded", (3, 11), False, "uv"),
        ("dns error", (3, 11), False, "uv"),
        ("fatal: unable to access ...: Could not resolve host: a", (3, 11), False, "uv"),
        ("tcp connect error", (3, 11), False, "uv"),
        ("operation timed out", (3, 11), False, "uv"),
        ("invalid peer certificate: UnknownIssuer", (3, 11), False, "pip"),
        ("error: Failed to build `a==1`", (3, 11), False, "uv"),
        ("error: Failed to build `a==1`", (3, 8), False, "pip"),
        ("error: Couldn't parse requirement in `a.txt`", (3, 11), False, "pip"),
        ("", (3, 11), False, "pip"),
    ],
)  # fmt: skip
def test_last_word(text: str, version: tuple[int, ...], several: bool, served: str) -> None:
    """A failure that pip would share is told by uv; pip is asked after all others."""
    assert last_word(text, version, several) == served


def test_configuration_files_are_read(tmp_path: Path) -> None:
    """pip's configuration files give options; variables win, then `[install]`, then `[global]`."""
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip/pip.conf").write_text(
        "[global]\nindex-url = http://a\ntimeout = 5\nfind_links =\n  /b\n  /c\n"
        "[install]\nno-index = true\ntimeout = 6\n[list]\nformat = json\n"
    )
    variables = {"HOME": str(tmp_path), "PIP_INDEX_URL": "http://d", "XDG_CONFIG_DIRS": "/none"}
    decision = decided("install", "name", variables=variables)
    assert decision.variables == {"UV_HTTP_TIMEOUT": "6"}
    assert {"--index-url=http://d", "--find-links=/b", "--find-links=/c", "--no-index"} <= set(
        command(decision.pairs)
    )


@pytest.mark.parametrize(
    ("text", "served", "lifted"),
    [
        ("a==1\n# --global-option\nb\n", "uv", []),
        ("--pre\n--trusted-host a\na", "uv", ["--prerelease=allow", "--allow-insecure-host=a"]),
        (
            "--prefer-binary\n-i http://a\n--find-links=b\n-e .\n-r more.txt",
            "uv",
            ["--prerelease=allow"],
        ),
        ("--require-hashes\na==1 \\\n  --hash=sha256:00", "uv", ["--require-hashes"]),
        ("--use-feature=fast-deps\na", "pip", []),
        ("-e git+https://host/a#egg=a", "pip", []),
        ("svn+https://host/a", "pip", []),
        ("\ufeffa", "uv", []),
    ],
)
def test_requirements_file_is_looked_through(
    tmp_path: Path, text: str, served: str, lifted: list[str]
) -> None:
    """Options in a file that uv reads on its command line only are put there; others need pip."""
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "more.txt").write_text("--pre")
    decision = decided("install", "-r", "a.txt", folder=str(tmp_path))
    assert decision.served == served
    if served == "uv":
        assert command(decision.pairs) == ["--requirements=a.txt", *lifted]


def test_utf16_file_needs_pip(tmp_path: Path) -> None:
    """A file that PowerShell wrote is UTF-16, which pip reads."""
    (tmp_path / "a.txt").write_text("a", encoding="utf-16")
    assert decided("install", "-ra.txt", folder=str(tmp_path)).served == "pip"


@pytest.mark.parametrize(
    ("constraints", "idle"),
    [
        ("torch<=2\n# a comment\n", True),
        ("Six-Pack==1.2\ntorch==2\n", True),
        ("six_pack==1.3\n", False),
        ("six.pack<=1.2\n", False),
        ("-r more.txt\n", False),
        ("https://a/six.whl\n", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("as_address", [False, True])
def test_lock_is_served_with_constraints_that_change_nothing(
    tmp_path: Path, constraints: str | None, idle: bool, as_address: bool
) -> None:
    """uv takes no constraints beside a pylock.toml. Those of the site, or of a rebuild, are left
    out if they are about other packages or name the same versions; else pip decides."""
    (tmp_path / "pylock.toml").write_text(
        'lock-version = "1.0"\n[[packages]]\nname = "six-pack"\nversion = "1.2"\n'
        'wheels = [{ name = "six_pack-1.2-py3-none-any.whl" }]\n'
    )
    limits = tmp_path / "with blank" / "limits.txt"
    limits.parent.mkdir()
    if constraints is not None:
        limits.write_text(constraints)
    given = limits.as_uri() if as_address else str(limits)
    decision = decided("install", "-r", "pylock.toml", "-c", given, folder=str(tmp_path))
    expected = ["--requirements=pylock.toml"]
    assert command(decision.pairs) == (
        expected if idle else [expected[0], f"--constraints={given}"]
    )
