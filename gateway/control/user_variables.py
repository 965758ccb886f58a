"""The variables that users set: values that editors see, and secrets, which are never shown.

A name is in one of the two only. Names that predictd itself sets, and names that no process could
have, are refused.
"""

from collections.abc import Mapping

import msgspec

from gateway.errors import Refusal
from gateway.setting_kinds import check_variables

# They identify the process: a build's id, a replica's name.
NAME_VARIABLES = ("CDSW_ENGINE_ID", "CDSW_MASTER_ID")

# What predictd tells a process, which users cannot set.
FACTS = frozenset(
    (
        *NAME_VARIABLES,
        *("CDSW_DOMAIN", "CDSW_API_URL", "CDSW_DS_API_URL", "PREDICTD_PUBLIC_URL"),
        *("CDSW_PROJECT_URL", "CDSW_PROJECT", "CDSW_PROJECT_ID", "CDSW_PROJECT_NUM"),
        *("CDSW_ENGINE_TYPE", "CDSW_EXPERIMENT_ID", "CDSW_OUTPUT_DIR", "PREDICTD_RUN_METRICS"),
    )
)


class Variables(msgspec.Struct, frozen=True):
    """What users have set: `plain` values, which editors see, and `secrets`, which are never
    shown."""

    plain: dict[str, str] = {}
    secrets: dict[str, str] = {}

    def merged(self) -> dict[str, str]:
        """All variables as a process gets them. No name is in both."""
        return {**self.plain, **self.secrets}


def check(variables: Variables) -> None:
    """Raises Refusal("argument.invalid") for a name that is not valid for a variable, or is in
    both."""
    try:
        check_variables(variables.plain)
    except ValueError as error:
        raise Refusal("argument.invalid", f"environment: {error}") from error
    try:
        check_variables(variables.secrets)
    except ValueError as error:
        raise Refusal("argument.invalid", f"secrets: {error}") from error
    if both := sorted(variables.plain.keys() & variables.secrets.keys()):
        text = f"environment: {both[0]} is a secret; remove it from the secrets first"
        raise Refusal("argument.invalid", text)


NO_VARIABLES = Variables()


def combine(
    plain: dict[str, str] | None, secrets: Mapping[str, str], before: Variables = NO_VARIABLES
) -> Variables:
    """`before` with its plain values replaced by `plain` (None: unchanged) and `secrets` merged
    into its secrets; an empty secret removes that one. Raises Refusal."""
    merged = {name: value for name, value in {**before.secrets, **secrets}.items() if value}
    made = Variables(before.plain if plain is None else plain, merged)
    check(made)
    return made


def named_changes(before: Variables, after: Variables) -> str:
    """Which variables were set and removed, by name, for the audit log: never with a value."""
    kept = {n for n in before.merged() if (n in before.secrets) == (n in after.secrets)}
    old, new = before.merged(), after.merged()
    put = sorted(name for name, value in new.items() if name not in kept or old[name] != value)
    gone = sorted(old.keys() - new.keys())
    parts = (("set", put), ("removed", gone))
    return "; ".join(f"variables {verb}: {', '.join(names)}" for verb, names in parts if names)


class VariableChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Variables to set and to remove by name; all others stay."""

    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}
    remove: list[str] = []

    def applied_to(self, before: Variables) -> Variables:
        """The variables after the change. A variable may become a secret, but not the other way
        round: its value would be shown. Raises Refusal."""
        self._check(before)
        replaced = {*self.remove, *self.secrets}
        plain = {n: v for n, v in before.plain.items() if n not in replaced} | self.environment
        secrets = {n: v for n, v in before.secrets.items() if n not in self.remove} | self.secrets
        made = Variables(plain, secrets)
        check(made)
        return made

    def _check(self, before: Variables) -> None:
        if named := sorted({*self.environment, *self.secrets} & FACTS):
            raise Refusal("argument.invalid", f"{named[0]}: predictd sets this variable itself")
        if empty := sorted(name for name, value in self.secrets.items() if not value):
            raise Refusal("argument.invalid", f"secrets: the value of {empty[0]} is empty")
        known = {*before.plain, *before.secrets}
        if unknown := [name for name in self.remove if name not in known]:
            raise Refusal("argument.invalid", f"remove: variable {unknown[0]!r} is not set")


class ShownVariables(msgspec.Struct, frozen=True, kw_only=True):
    """What editors see: values, names of secrets, and why they cannot be shown."""

    environment: dict[str, str] = {}
    secrets: list[str] = []
    problem: str = ""
