"""What the form of a model sends, and what Test Model makes of an example."""

import json
from typing import Any

import pytest

from gateway.errors import Refusal
from gateway.web.model_form import ModelForm, errors_of, variables_of
from gateway.web.test_model import PREFIX, check_request, fields_of, request_of, typed_fields

FILES = [
    {"path": "other.py", "functions": [{"name": "f"}], "problem": ""},
    {"path": "predict.py", "functions": [{"name": "g"}, {"name": "predict"}], "problem": ""},
]


def test_new_form_picks_the_usual_function() -> None:
    """A function `predict` is picked, or the only one there is; else none."""
    form = ModelForm.empty(FILES, {})
    assert (form.value("file_path"), form.function) == ("predict.py", "predict")
    assert ModelForm.empty(FILES[:1], {}).function == "f"
    assert ModelForm.empty([], {}).value("file_path") == ""


def test_form_sends_what_was_typed() -> None:
    """Numbers, JSON and variables are sent as what they are."""
    typed = {"file_path": "a.py", "function_name": "f", "example": '{"a": 3}', "replicas": "2"}
    typed["example_output"] = "[1]"
    sent = ModelForm(FILES, {**typed, "cpu": "0.5", "environment": "A=b=c\n\nD=\n"}).build()
    assert (sent["example"], sent["example_output"]) == ({"a": 3}, [1])
    deployed = {"cpu": 0.5, "memory": None, "replicas": 2, "environment": {"A": "b=c", "D": ""}}
    assert sent["auto_deployment_config"] == deployed


@pytest.mark.parametrize(
    ("field", "text"), [("example", "{a"), ("cpu", "many"), ("environment", "A")]
)
def test_error_is_beside_its_field(field: str, text: str) -> None:
    """What is no number, no JSON or no variable is told beside its field."""
    form = ModelForm(FILES, {"file_path": "a.py", "function_name": "f", field: text})
    with pytest.raises(Refusal) as caught:
        form.build()
    assert list(errors_of(caught.value, None)) == [field]


def test_problems_of_a_check_are_beside_their_fields() -> None:
    """Each problem is at the field that the API names; others are not at a field."""
    problems = [
        {"problem": "no such file", "advice": "Name one.", "field": "file_path"},
        {"problem": "conda", "advice": "Use pip.", "field": ""},
    ]
    assert errors_of(None, {"problems": problems}) == {"file_path": "no such file. Name one."}


def test_form_of_a_flat_example_sends_its_types() -> None:
    """Fields send values of the example's types; what is no number goes as text."""
    example = {"n": 5.4, "whole": 1, "yes": True, "text": "a", "none": None}
    fields = fields_of(example)
    assert json.loads(request_of(fields, example)) == example
    typed = typed_fields(fields, {f"{PREFIX}n": "many", f"{PREFIX}whole": "7"})
    sent = {"n": "many", "whole": 7, "yes": False, "text": "", "none": None}
    assert json.loads(request_of(typed, example)) == sent


@pytest.mark.parametrize("example", [None, [], {}, 1, {"a": [1]}, {str(n): n for n in range(50)}])
def test_other_examples_have_no_form(example: Any) -> None:
    """What is not a flat object is typed as JSON."""
    assert fields_of(example) == []


def test_request_is_json() -> None:
    """Other text is refused before anything is called."""
    assert check_request(' {"a":1}') == b'{"a":1}'
    with pytest.raises(Refusal, match="not JSON"):
        check_request("{a}")


def test_variables_are_lines() -> None:
    """A line without `=` or a name is refused."""
    with pytest.raises(Refusal, match="not NAME=value"):
        variables_of("=x")


def test_next_build_is_as_the_last() -> None:
    """The form of the next build has what the last build and deployment have, also the network,
    and names the secrets, which cannot be kept."""
    resources = {"cpu_millicores": 1000, "memory_mb": 2048, "nvidia_gpus": 1}
    model = {"default_resources": resources, "default_replication_policy": {"num_replicas": 1}}
    build: dict[str, Any] = {"file_path": "a.py", "function_name": "f", "network": "none"}
    build |= {
        "model_root_dir": "inner",
        "build_script_path": "b.sh",
        "example": {"a": 1},
        "kernel": "",
    }
    deployment: dict[str, Any] = {"cpu": 0.5, "memory": 1.0, "replicas": 3, "network": "outward"}
    deployment |= {"environment": '{"A":"b"}', "secrets": ["TOKEN"], "nvidia_gpu": 2}
    form = ModelForm.of_model(FILES, model, build, deployment)
    sent = form.build()
    kept = ("file_path", "function_name", "model_root_dir", "build_script_path", "network")
    assert {name: sent[name] for name in kept} == {name: build[name] for name in kept}
    assert sent["example"] == {"a": 1}
    deployed = {"cpu": 0.5, "memory": 1.0, "replicas": 3, "network": "outward", "nvidia_gpus": 2}
    assert sent["auto_deployment_config"] == {**deployed, "environment": {"A": "b"}}
    assert form.value("secrets") == "TOKEN"
    assert ModelForm.of_model([], model, {}, {}).value("cpu") == "1"
