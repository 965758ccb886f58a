"""The folder of a question to uv: our files in it, and uv's answer.

It lies beside the build's temporary files, not in them. What a script has left there, such as a
link in the place of a file, would have the gateway write elsewhere, with the gateway's rights. uv
may run code of the project, which can change the folder, so each question has a new one. Questions
of different names can be asked at once. The jail shows the folder at this path. See gotcha G5 in
README.
"""

from pathlib import Path

from builder.files.remove_tree import remove_tree
from builder.spec import BuildSpec


def question_folder(spec: BuildSpec, name: str) -> Path:
    """Return where the folder is, in a folder that no program of the project can change."""
    return spec.folder / f"question-{name}"


def make_question_folder(folder: Path) -> None:
    """Make the folder, and remove that of the question before. Blocking. Raises OSError."""
    remove_tree(folder)
    folder.mkdir()
    folder.chmod(0o777)  # uv may run as another user
