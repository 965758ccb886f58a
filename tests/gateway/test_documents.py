"""The tables of REFERENCE.md are those of the code."""

import re
from pathlib import Path

import msgspec

from gateway.admin.route_table import ROUTES
from gateway.errors import CATALOGUE
from gateway.identity.permissions import MEANINGS, ROLES
from gateway.predictions.call import CALL_PATHS, NAMED_PATH
from gateway.setting_kinds import MIB
from gateway.settings import SETTINGS, Settings
from gateway.web.site import PAGES
from store import AuditEntry

FOLDER = Path(__file__).parents[2] / "gateway"
REFERENCE = (FOLDER / "REFERENCE.md").read_text("utf-8")


def section(heading: str) -> str:
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    return str(text)


def rows(heading: str) -> list[str]:
    """The rows of a section's table, without its head."""
    return [line for line in section(heading).splitlines() if line.startswith("| ")][1:]


def settings_rows() -> list[str]:
    table = []
    for field in msgspec.structs.fields(Settings):
        value = field.default
        if field.name == "data":
            shown = "`~/.local/share/predictd`"
        elif field.default_factory is not msgspec.NODEFAULT or value == "":
            shown = "none"
        elif isinstance(value, int) and not isinstance(value, bool) and value >= MIB:
            shown = f"`{value // MIB}MiB`"
        else:
            shown = f"`{value:g}`" if isinstance(value, float) else f"`{str(value).lower()}`"
        setting = SETTINGS[field.name]
        table.append(f"| `{field.name}` | {shown} | {setting.meaning} | {setting.takes_effect} |")
    return table


def errors_rows() -> list[str]:
    return [
        f"| `{code}` | {kind.status} | {kind.who} | {kind.advice} |"
        for code, kind in CATALOGUE.items()
    ]


def routes_rows() -> list[str]:
    return [
        f"| {r.method} | `{r.path.replace('path:', '')}` | {r.permission} | {r.summary} |"
        for r in ROUTES
    ]


def permissions_rows() -> list[str]:
    by = {needs: role for role, each in ROLES.items() for needs in each}
    return [f"| {needs} | {meaning} | {by.get(needs, '')} |" for needs, meaning in MEANINGS.items()]


def test_the_permissions() -> None:
    """The table of permissions names each, and the first role that has it."""
    assert rows("Who may do what") == permissions_rows()


def test_the_settings() -> None:
    """The table of settings is that of the code."""
    assert rows("Settings") == settings_rows()


def test_the_error_codes() -> None:
    """The table of error codes is the catalogue."""
    assert rows("Error codes") == errors_rows()


def test_the_admin_routes() -> None:
    """The table of routes is that from which the routes are made."""
    assert rows("Admin routes") == routes_rows()


def test_the_audit_log() -> None:
    """Each field of an entry and each action is told, and no route has another one."""
    fields = [row.split("`")[1] for row in rows("The audit log")]
    assert set(fields) == set(AuditEntry.__struct_fields__) - {"id", "updated_at"}
    (listed,) = re.findall(
        r"^`project.create`.*?\n\n", section("The audit log"), re.MULTILINE | re.DOTALL
    )
    of_routes = {route.audit for route in ROUTES if route.audit}
    of_pages = {page.audit for page in PAGES if page.audit}
    assert of_routes | of_pages | {"gateway.start", "refused"} == set(re.findall("`(.+?)`", listed))


def test_the_paths_of_model_calls() -> None:
    """Every path that calls a model is told."""
    readme = (FOLDER / "predictions/README.md").read_text("utf-8")
    for path in (*CALL_PATHS, f"{NAMED_PATH}<name>"):
        assert f"`POST {path}`" in readme
