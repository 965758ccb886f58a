"""What the audit trail may say of a body."""

from typing import Literal

import msgspec

from gateway.admin.audit_fields import given
from gateway.admin.schemas import CreateBuild, CreateDeployment, UpdateModel


class _Person(msgspec.Struct, kw_only=True, omit_defaults=True):
    name: str
    role: Literal["viewer", "admin"] = "viewer"
    word: Literal["a", "b"] | msgspec.UnsetType = msgspec.UNSET
    perhaps: Literal["x"] | None = None
    password: str = msgspec.field(default="", name="pass")
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


def test_texts_are_named_and_not_told() -> None:
    """Of a text, a list or a table only the field is told."""
    build = CreateBuild(
        file_path="secret.py", function_name="f", example=msgspec.Raw(b'{"secret":1}')
    )
    assert given(build) == "file_path, function_name, example"
    assert given(CreateDeployment(environment={"A": "secret"})) == "environment"
    assert given(CreateDeployment(secrets={"A": "secret"})) == "secrets"


def test_numbers_and_fixed_words_are_told() -> None:
    """Numbers, yes or no, and words of a fixed set are told."""
    person = _Person(name="x", role="admin", word="b", perhaps="x", password="p", disabled=False)
    assert given(person) == "name, role=admin, word=b, perhaps=x, pass, disabled=false"
    assert given(CreateDeployment(replicas=2, network="none")) == "replicas=2, network=none"


def test_what_is_not_given_is_not_told() -> None:
    """Defaults are not told; structures are told by their parts."""
    assert given(UpdateModel()) == ""
    asked = msgspec.convert({"default_resources": {"memory_mb": 5}, "name": "x"}, UpdateModel)
    assert given(asked) == "name, memory_mb=5"
