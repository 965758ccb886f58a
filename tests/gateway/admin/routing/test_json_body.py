"""JSON bodies of the admin API: read by their types, without objects for what is not in them."""

import json
from typing import Annotated, Literal

import msgspec
import pytest

from gateway.admin.builds import CreateBuild
from gateway.admin.deployments import CreateDeployment
from gateway.admin.models import CreateModel, UpdateModel
from gateway.admin.projects import CreateProject
from gateway.admin.routing.json_body import FIELD_BYTES, BodyReader
from gateway.errors import Refusal


class _Inner(msgspec.Struct, kw_only=True):
    cores: float | None = None
    variables: Annotated[dict[str, str], msgspec.Meta(max_length=3)] = {}


class _Asked(msgspec.Struct, kw_only=True):
    name: str
    count: int = 1
    kind: Literal["a", "b"] | msgspec.UnsetType = msgspec.UNSET
    free: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    values: dict[str, msgspec.Raw] = {}
    inner: _Inner | None = None


read = BodyReader(_Asked).read


def test_null_is_default_and_number_may_be_text() -> None:
    """As protobuf's JSON is read; in a mapping of texts a null is left out."""
    asked = read(
        b'{"name":"x","count":null,"kind":null,"inner":'
        b'{"cores":"0.5","variables":{"A":"null","B":null}}}'
    )
    expected = _Asked(name="x", inner=_Inner(cores=0.5, variables={"A": "null"}))
    assert asked == expected


def test_unknown_field_is_refused_by_name() -> None:
    """Unless it asks for nothing, or says what the path says: it would be believed to be done."""
    nothing = b'"a":null,"b":false,"c":0,"d":"0","e":"","f":[],"g":{},"project_id":"x"'
    asked = read(b'{"name":"x",%b,"inner":{"h": [ ],"cores":1}}' % nothing)
    assert asked == _Asked(name="x", inner=_Inner(cores=1))
    for body, told in (
        (b'{"name":"x","replica_count":2}', "replica_count: there is no such field"),
        (
            b'{"name":"x","inner":{"core":2}}',
            "inner.core: there is no such field; did you mean 'co",
        ),
        (b'{"name":"x","pad":"%b","other":2}' % (b"x" * 20_000), "unknown field `pad`"),
    ):
        with pytest.raises(Refusal) as refused:
            read(body)
        assert told in str(refused.value)


def test_a_body_as_other_systems_write_it() -> None:
    """A byte order mark is passed over; another encoding is named."""
    assert read(b'\xef\xbb\xbf{"name":"x"}').name == "x"
    with pytest.raises(Refusal, match="the body is UTF-16; send it as UTF-8"):
        read('{"name":"x"}'.encode("utf-16"))


def test_granted_value_passes() -> None:
    """Clients of CML say which kind of engines a project has; there is one kind."""
    new = BodyReader(CreateProject).read
    assert new(b'{"name":"x","default_project_engine_type":"ml_runtime"}').name == "x"
    with pytest.raises(Refusal, match="default_project_engine_type: there is no such field"):
        new(b'{"name":"x","default_project_engine_type":"legacy_engine"}')


_BUILD = b'{"file_path":"f","function_name":"f",%b}'


@pytest.mark.parametrize(
    ("kind", "body", "name"),
    [
        (CreateBuild, _BUILD % b'"auto_deploy_config":{"replicas":2}', "auto_deploy_config"),
        (
            CreateBuild,
            _BUILD % b'"auto_deployment_config":{"replica_count":2}',
            "auto_deployment_config.replica_count",
        ),
        (CreateBuild, _BUILD % b'"registered_model_version_id":"v"', "registered_model_version_id"),
        (CreateDeployment, b'{"deployment_secrets":{"A":"1"}}', "deployment_secrets"),
        (CreateModel, b'{"name":"x","registered_model_id":"m"}', "registered_model_id"),
        (CreateModel, b'{"name":"x","enable_auth":true}', "enable_auth"),
    ],
)
def test_what_clients_of_cml_ask_and_is_not_done(
    kind: type[msgspec.Struct], body: bytes, name: str
) -> None:
    """Each is refused by its name."""
    with pytest.raises(Refusal, match=f"{name}: there is no such field"):
        BodyReader(kind).read(body)


def test_read_only_field_passes() -> None:
    """A whole record may be sent where a part of it can be changed: the rest is as it was."""
    asked = BodyReader(UpdateModel).read(
        b'{"id":"i","name":"new","crn":"c","creator":{"name":"n"}}'
    )
    assert asked.changes() == {"name": "new"}


def test_variables_may_be_a_text_as_in_replies() -> None:
    """`environment` is an object, or the JSON of one."""
    for given in (b'{"A":"1"}', b'"{\\"A\\": \\"1\\"}"'):
        asked = read(b'{"name":"x","inner":{"variables":%b}}' % given)
        assert asked.inner.variables == {"A": "1"}
    assert read(b'{"name":"x","inner":{"variables":""}}').inner.variables == {}
    with pytest.raises(Refusal):
        read(b'{"name":"x","inner":{"variables":"{}, \\"cores\\": 1"}}')


def test_raw_json_is_unchanged() -> None:
    """A value that is not ours to read keeps its nulls, its blanks and its digits."""
    text = b'{"a": null, "b": [1e400, 12345678901234567890123]}'
    asked = read(b'{"name":"x","free":%b,"values":{"v":%b,"n":null}}' % (text, text))
    assert bytes(asked.free) == text
    assert {k: bytes(v) for k, v in asked.values.items()} == {"v": text, "n": b"null"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[]", "got `array`"),
        (b"{", "the body is not JSON: it ends early"),
        (b"", "the body is empty"),
        (b'{"name":True}', "True at byte 8; send true"),
        (b'{"count":2}', "`name`"),
        (b'{"name":null}', "`name`"),
        (b'{"name":"x","count":"y"}', "$.count"),
        (b'{"name":"x","inner":{"variables":{"A":1}}}', "$.inner.variables"),
        (b'{"name":"x","inner":3}', "$.inner"),
        (b'{"name":"\xff"}', "not UTF-8"),
        (b'{"name":"x","free":"\xff"}', "not UTF-8"),
        (b'{"name":"x","free":%b}' % (b"[" * 10_000 + b"]" * 10_000), "recursion"),
        (b'{"name":"x","inner":{"variables":{"a":"","b":"","c":"","d":""}}}', "length <= 3"),
    ],
)
def test_invalid_field_is_refused_by_name(body: bytes, told: str) -> None:
    """The refusal says which field it is."""
    with pytest.raises(Refusal) as refused:
        read(body)
    assert refused.value.code == "argument.invalid"
    assert told in refused.value.message


def test_field_size_is_bounded() -> None:
    """What is built into objects has a bound of its own, below that of the whole body."""
    entries = {str(number): "" for number in range(FIELD_BYTES // 6)}
    with pytest.raises(Refusal, match=f"values is longer than {FIELD_BYTES} bytes"):
        read(json.dumps({"name": "x", "values": entries}).encode())
    assert bytes(read(json.dumps({"name": "x", "free": entries}).encode()).free)


def test_unknown_keys_are_refused_where_the_kind_says_so() -> None:
    """The settings are: a name that is not known is most likely a mistake."""
    kind = msgspec.defstruct("K", [("known", int, 0)], forbid_unknown_fields=True)
    with pytest.raises(Refusal, match="unknown"):
        BodyReader(kind).read(b'{"unknown":1}')
