"""What users type: understood or refused by name, never passed on as a guess."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli import make_parser
from gateway.cli.arguments import (
    count,
    cpu,
    file_and_function,
    gpus,
    json_value,
    memory,
    model_setting,
    moment,
    replicas,
    setting,
    since,
    variable,
)
from gateway.cli.command import Command
from gateway.cli.parser import commands


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (file_and_function, "predict.py:predict", ("predict.py", "predict")),
        (file_and_function, "a:b/m.py:f", ("a:b/m.py", "f")),
        (variable, "A=b=c", ("A", "b=c")),
        (variable, "_A1=", ("_A1", "")),
        (memory, "2GiB", 2.0),
        (memory, "2", 2.0),
        (memory, "1.5gb", 1.5),
        (memory, "512MiB", 0.5),
        (memory, "512m", 0.5),
        (cpu, "1", 1.0),
        (cpu, ".5", 0.5),
        (replicas, "12", 12),
        (gpus, "0", 0),
        (gpus, "8", 8),
        (model_setting, "keep_builds=3", ("keep_builds", 3)),
        (model_setting, "keep_builds_days=default", ("keep_builds_days", -1)),
        (model_setting, "description=a=b", ("description", "a=b")),
        (model_setting, "visibility=public", ("visibility", "public")),
        (model_setting, "request_log=off", ("request_log", False)),
        (setting, "max_replicas=4", ("max_replicas", "4")),
        (setting, "max_request_size=5 MiB", ("max_request_size", "5 MiB")),
        (setting, 'environment={"A": "b=c"}', ("environment", {"A": "b=c"})),
        (count, "12", 12),
        (since, "2027-01-31", "2027-01-31T00:00:00+00:00"),
        (since, "2027-01-31T01:00:00+01:00", "2027-01-31T01:00:00+01:00"),
        (moment, "1970-01-02", 86_400_000),
        (moment, "1970-01-01T02:00:01+02:00", 1000),
        (json_value, ' {"a": [1, null]} ', {"a": [1, None]}),
        (json_value, "-5", -5),
    ],
)
def test_arguments_are_parsed(parse: Callable[[str], object], text: str, value: object) -> None:
    """Each spelling means one value."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (file_and_function, "predict.py"),
        (file_and_function, ":f"),
        (file_and_function, "m.py:"),
        (file_and_function, "m.py:no such"),
        (variable, "A"),
        (variable, "1A=x"),
        (variable, "=x"),
        (memory, "0"),
        (memory, "2KiB"),
        (memory, "-1"),
        (memory, "nan"),
        (cpu, "0"),
        (cpu, "nan"),
        (cpu, "-1"),
        (cpu, "1e3"),
        (gpus, "-1"),
        (gpus, "0.5"),
        (replicas, "0"),
        (replicas, "1.5"),
        (model_setting, "keep_builds=-1"),
        (model_setting, "request_log=maybe"),
        (model_setting, "visibility=x"),
        (model_setting, "description"),
        (model_setting, "name=x"),
        (setting, "max_replicas"),
        (setting, "Max=4"),
        (replicas, "²"),
        (count, "0"),
        (count, "x"),
        (since, "2 h"),
        (since, "yesterday"),
        (since, "999999d"),
        (moment, "yesterday"),
        (moment, "0001-01-01T00:00+23:00"),
        (json_value, "{a: 1}"),
        (json_value, "NaN"),
        (json_value, "[1e999]"),
        (json_value, "@/nonexistent"),
        (json_value, "[" * 100_000),
    ],
)
def test_invalid_arguments_are_refused(parse: Callable[[str], object], text: str) -> None:
    """What has no meaning is refused with a message that repeats the start of it."""
    with pytest.raises(ArgumentTypeError) as caught:
        parse(text)
    assert text.lstrip("@")[:60] in str(caught.value)
    assert len(str(caught.value)) < 200


def test_setting_of_a_deployment_is_led_to_its_verb() -> None:
    """What belongs to a deployment is refused among the settings of a model, with its command."""
    for text, words in (
        ("gpus=2", "--gpus 2"),
        ("nvidia_gpus=1", "--gpus 1"),
        ("cpu=4", "--cpu 4"),
    ):
        with pytest.raises(ArgumentTypeError, match=f"`predictd model redeploy MODEL {words}`"):
            model_setting(text)


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    """The file's text is judged like typed text; bytes that are no text are refused too."""
    (tmp_path / "good").write_text("[1]")
    (tmp_path / "bad").write_bytes(b"\xff")
    assert json_value(f"@{tmp_path / 'good'}") == [1]
    with pytest.raises(ArgumentTypeError):
        json_value(f"@{tmp_path / 'bad'}")


@pytest.mark.parametrize("command", [*commands()], ids=lambda each: " ".join(each.words))
def test_every_verb_has_help(command: Command) -> None:
    """Each verb has a line of help and a docstring, and prints its help without an error."""
    assert command.help
    assert command.run.__doc__
    with pytest.raises(SystemExit) as ended:
        make_parser().parse_args([*command.words, "--help"])
    assert ended.value.code == 0


def test_environment_variables_add_up() -> None:
    """--env may be given many times."""
    parsed = make_parser().parse_args(["deploy", "m.py:f", "--env", "A=1", "--env", "B=2"])
    assert dict(parsed.env) == {"A": "1", "B": "2"}
