"""`predictd.toml`: what it may have, how mistakes are told, and that flags win."""

import json
from pathlib import Path

import msgspec
import pytest

from gateway.cli.context import Context
from gateway.cli.project_file import KEYS, ModelTable
from gateway.cli.watch import wait_for_deployment
from gateway.client import Json
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

ROOT = Path(__file__).parents[3]
WHOLE = """\
[models.add]
file = "model.py"
function = "add"
kernel = "python3.11"
replicas = 3
cpu = 0.5
memory = "512MiB"
gpus = 1
network = "outward"
auth = false
build_script = "build.sh"
env = { STAGE = "test", MORE = "x" }
example = { a = 1, b = 2 }

[models.echo]
file = "model.py"
function = "echo"
"""


A = '[models.a]\nfile = "a"\nfunction = "f"\n'


def write(folder: Path, text: str) -> None:
    """Writes predictd.toml, and the files that its models have in these tests."""
    (folder / "predictd.toml").write_text(text)
    add = "def add(args):\n    return args['a'] + args['b']\n"
    (folder / "model.py").write_text(f"{add}def echo(args):\n    return args\n")
    (folder / "a").touch()


def test_deploy_takes_all_keys_of_the_file(state: State, folder: Path, predictd: Predictd) -> None:
    """Without arguments all models are deployed, each as the file says."""
    write(folder, WHOLE)
    outcome = predictd("deploy", "--json")
    assert outcome.code == 0, outcome.err
    shown = [json.loads(line) for line in outcome.out.splitlines()]
    assert [each["model"]["name"] for each in shown] == ["add", "echo"]
    assert shown[0]["answer"] == 3
    build, other = state.builds.values()
    assert (build["kernel"], build["build_script_path"]) == ("python3.11", "build.sh")
    assert "build_script_path" not in {**other, "build_script_path": ""} or other["kernel"] == ""
    first, second = state.deployments.values()
    sizes = (first["replicas"], first["cpu"], first["memory"], first["network"])
    assert sizes == (3, 0.5, 0.5, "outward")
    assert (first["nvidia_gpus"], second["nvidia_gpus"]) == (1, 0)
    assert first["environment"] == '{"STAGE": "test", "MORE": "x"}'
    assert [model["auth_enabled"] for model in state.models.values()] == [False, True]
    assert second["replicas"] == 2


def test_models_before_a_failure_are_shown(
    state: State, folder: Path, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several models each is shown when it serves; a failure ends the command, and says which
    models were not begun."""

    def fail_the_next(context: Context, model: Json, deployment: Json) -> Json:
        state.build_status = "build failed"
        return wait_for_deployment(context, model, deployment)

    monkeypatch.setattr("gateway.cli.commands.deploy.wait_for_deployment", fail_the_next)
    write(folder, WHOLE + A)
    outcome = predictd("deploy")
    assert outcome.code == 1
    assert outcome.out.startswith("sums/add serves build 1")
    assert "of 'sums/echo' failed" in outcome.err
    assert "Not begun: 'a'." in outcome.err


def test_flags_win_over_the_file(state: State, folder: Path, predictd: Predictd) -> None:
    """Also for one variable of several; and a model is named by its name."""
    write(folder, WHOLE)
    flags = ("--replicas", "1", "--auth", "--env", "STAGE=live", "--example", '{"a": 2, "b": 2}')
    outcome = predictd("deploy", "add", *flags)
    assert "It answers the example with 4." in outcome.out, outcome.err
    [deployment] = state.deployments.values()
    assert (deployment["replicas"], deployment["cpu"]) == (1, 0.5)
    assert deployment["environment"] == '{"STAGE": "live", "MORE": "x"}'
    [model] = state.models.values()
    assert model["auth_enabled"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models.a\n", "is not TOML"),
        ("", "has no [models.NAME]"),
        ("x = 1\n", "line 1: there is no key 'x'"),
        ("[model.a]\n", "did you mean 'models'?"),
        ('[models.a]\nfile = "a.py"\n', "line 1: [models.a] has no 'function'"),
        ('[models.a]\nfile = 1\nfunction = "f"\n', "line 2: 'file' has to be a path"),
        ('[models.a]\nfile = "a"\nfunction = "f g"\n', "line 3: 'function' has to be"),
        (f'{A}replica = 1\n', "line 4: there is no key 'replica'"),
        (f'{A}replica = 1\n', "did you mean 'replicas'?"),
        (f'{A}replicas = 0\n', "line 4: 'replicas' has to be"),
        (f'{A}replicas = true\n', "'replicas' has to be"),
        (f'{A}cpu = -1\n', "line 4: 'cpu' has to be"),
        (f'{A}memory = "x"\n', "line 4: 'memory': 'x' is not"),
        (f'{A}network = "all"\n', "line 4: 'network' has to be"),
        (f'{A}[models.a.env]\nA = 1\n', "line 4: 'env' has to be"),
        (f'{A}env = {{"a b" = "1"}}\n', "line 4: 'env'"),
        ("[models]\na = 1\n", "has to be a table [models.NAME]"),
    ],
)  # fmt: skip
def test_mistake_is_told_with_its_line(
    state: State, folder: Path, predictd: Predictd, text: str, said: str
) -> None:
    """And with what is allowed, before anything is sent."""
    write(folder, text)
    outcome = predictd("deploy")
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    assert not state.requests


def test_missing_file_or_model_is_told(state: State, folder: Path, predictd: Predictd) -> None:
    """With the next step."""
    assert "predictd init" in predictd("deploy").err
    write(folder, WHOLE)
    outcome = predictd("deploy", "ad")
    assert (outcome.code, "did you mean 'add'?" in outcome.err) == (2, True)
    assert predictd("deploy", "--watch").code == 2
    assert predictd("deploy", "--name", "x").code == 2


def test_reference_has_each_key() -> None:
    """The table of the reference, the errors and the schema have the same keys."""
    assert list(KEYS) == [field.name for field in msgspec.structs.fields(ModelTable)]
    reference = (ROOT / "gateway" / "cli" / "REFERENCE.md").read_text()
    for key, about in KEYS.items():
        assert f"| `{key}` | {about} |" in reference


def test_init_writes_what_deploy_takes(state: State, folder: Path, predictd: Predictd) -> None:
    """Functions are found by parsing; likely ones win; nothing is overwritten."""
    (folder / "serve.py").write_text(
        "import cdsw\n\n@cdsw.model_metrics\ndef add_up(args, more=1):\n    return 1\n\n"
        "def predict(args):\n    return 1\n\ndef two(a, b):\n    pass\n"
    )
    (folder / "broken.py").write_text("def predict(:\n")
    (folder / "requirements.txt").write_text("numpy\n")
    assert predictd("init").code == 2  # asks, and there is no terminal
    outcome = predictd("init", "--yes")
    assert "A build installs what requirements.txt says." in outcome.out
    assert (folder / ".gitignore").exists()
    assert predictd("deploy").code == 0
    names = [model["name"] for model in state.models.values()]
    assert names == ["add-up", "predict"]
    outcome = predictd("init", "--yes")
    assert (outcome.code, "exists already" in outcome.err) == (4, True)


def test_init_without_a_function(state: State, folder: Path, predictd: Predictd) -> None:
    """It says what to write."""
    (folder / "model.py").write_text("x = 1\n")
    outcome = predictd("init", "--yes")
    assert (outcome.code, "def predict(args)" in outcome.err) == (1, True)
    assert not (folder / "predictd.toml").exists()
