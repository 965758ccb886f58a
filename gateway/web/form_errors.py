"""Where a form shows the error of a refused change: beside its field, or above the form.

The API's messages begin with the name of the field that they are about: `name: give 1 to ...`.
"""

from collections.abc import Collection

from gateway.errors import Refusal


def field_errors(refused: Refusal | None, fields: Collection[str]) -> dict[str, str]:
    """The message for each of these fields, "" for those without one."""
    errors = dict.fromkeys(fields, "")
    if refused is None:
        return errors
    field, _, problem = refused.message.partition(": ")
    if refused.code == "name.taken" and "name" in errors:
        field, problem = "name", refused.message
    if field in errors:
        errors[field] = problem
    return errors
