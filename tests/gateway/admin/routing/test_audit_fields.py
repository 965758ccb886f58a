"""What the audit trail may say of a body."""

from typing import Literal

import msgspec

from gateway.admin.builds import CreateBuild
from gateway.admin.deployments import CreateDeployment
from gateway.admin.models import UpdateModel
from gateway.admin.routing.audit_fields import audit_summary


class _Person(msgspec.Struct, kw_only=True, omit_defaults=True):
    name: str
    role: Literal["viewer", "admin"] = "viewer"
    word: Literal["a", "b"] | msgspec.UnsetType = msgspec.UNSET
    perhaps: Literal["x"] | None = None
    password: str = msgspec.field(default="", name="pass")
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


def test_text_is_recorded_by_name_only() -> None:
    """Of a text, a list or a table only the field is told."""
    build = CreateBuild(
        file_path="secret.py", function_name="f", example=msgspec.Raw(b'{"secret":1}')
    )
    assert audit_summary(build) == "file_path, function_name, example"
    assert audit_summary(CreateDeployment(environment={"A": "secret"})) == "environment"
    assert audit_summary(CreateDeployment(secrets={"A": "secret"})) == "secrets"


def test_number_and_enumeration_are_recorded() -> None:
    """Numbers, yes or no, and words of a fixed set are told."""
    person = _Person(name="x", role="admin", word="b", perhaps="x", password="p", disabled=False)
    assert audit_summary(person) == "name, role=admin, word=b, perhaps=x, pass, disabled=false"
    assert audit_summary(CreateDeployment(replicas=2, network="none")) == "replicas=2, network=none"


def test_default_is_not_recorded() -> None:
    """Defaults are not told; structures are told by their parts."""
    assert audit_summary(UpdateModel()) == ""
    asked = msgspec.convert({"default_resources": {"memory_mb": 5}, "name": "x"}, UpdateModel)
    assert audit_summary(asked) == "name, memory_mb=5"
