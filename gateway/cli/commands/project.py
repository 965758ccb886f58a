"""The verbs `predictd project ...`: create, ls, show, rm."""

from pathlib import Path

from gateway.cli.command import OneOf, argument, command
from gateway.cli.commands.status import model_table
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import find_project
from gateway.cli.options import PROJECT, WAIT, YES
from gateway.cli.project_of_folder import is_local
from gateway.cli.terminal import facts, table
from gateway.cli.watch import poll
from gateway.client import Client, Json
from gateway.suggested_command import suggested

# The templates as users type them, with their names in the admin API.
TEMPLATES = {"python": "Python", "r": "R", "churn": "churn", "blank": "blank"}


@command(
    "project create",
    "create a project",
    argument("name", metavar="NAME"),
    OneOf(
        (
            argument(
                "--template",
                choices=sorted(TEMPLATES, reverse=True),
                default="python",
                help="default: python",
            ),
            argument(
                "--path",
                metavar="DIR",
                help="link this folder of the gateway's machine (site administrators)",
            ),
            argument("--git", metavar="URL", help="clone this repository"),
        )
    ),
    argument("--ref", metavar="REF", default="", help="with --git: branch or tag"),
    argument(
        "--git-key",
        metavar="FILE",
        help="with --git over ssh: private key without a passphrase, for this clone only",
    ),
    argument(
        "--git-host-key",
        metavar="FILE",
        help="with --git over ssh: host keys, as `ssh-keyscan HOST` prints them",
    ),
    *WAIT,
    examples=[
        "predictd project create iris",
        "predictd project create iris --git https://example.org/iris.git --ref main",
    ],
)
def create(context: Context) -> None:
    """A project from a template, an existing folder or a git repository."""
    arguments = context.arguments
    asked = {"name": arguments.name}
    keys = {"git_key": arguments.git_key, "git_host_key": arguments.git_host_key}
    if (arguments.ref or any(keys.values())) and not arguments.git:
        message = "--ref, --git-key and --git-host-key need --git"
        raise CommandFailed(message, "name the repository with --git URL", Exit.USAGE)
    if arguments.path and not is_local(context):
        raise CommandFailed(
            f"--path links a folder of the gateway's machine, and {context.named} may be another",
            "upload the folder: run `predictd deploy FILE:FUNCTION` in it",
            Exit.USAGE,
        )
    if arguments.path:
        asked |= {"template": "local", "path": str(_folder(arguments.path))}
    elif arguments.git:
        asked |= {"template": "git", "git_url": arguments.git, "git_ref": arguments.ref}
        asked |= {name: _text_of(file) for name, file in keys.items() if file}
    else:
        asked["template"] = TEMPLATES[arguments.template]
    with context.terminal.spinner(f"creating project {arguments.name}"):
        project = create_project(context.client, asked, wait=not arguments.detach)
    # Only a site administrator sees paths of the gateway's machine.
    where = f" in {project['path']}" if project["path"] else ""
    context.terminal.result(
        project,
        f"Created project {project['name']!r}{where}.\n"
        f"Serve a function of it with "
        f"{suggested('deploy', 'FILE:FUNCTION', '--project', project['name'])}.",
    )


@command(
    "project ls",
    "list all projects",
    examples=["predictd project ls"],
)
def ls(context: Context) -> None:
    """All projects."""
    projects = context.client.listing("/projects")
    rows = [
        (each["name"], each["template"], each["creation_status"], each["path"]) for each in projects
    ]
    none = "No projects. Create one with `predictd project create NAME`."
    text = table(("PROJECT", "TEMPLATE", "STATUS", "FOLDER"), rows) if rows else none
    context.terminal.result({"projects": projects}, text)


@command(
    "project show",
    "show one project and its models",
    PROJECT,
    examples=["predictd project show iris"],
)
def show(context: Context) -> None:
    """One project and its models."""
    project = find_project(context.client, context.arguments.project)
    models = context.client.listing(f"/projects/{project['id']}/models")
    about = facts(
        {
            "project": project["name"],
            "description": project["description"],
            "status": project["creation_status"],
            "error": project["creation_error"],
            "folder": project["path"],
            "git": f"{project['git_url']} {project['git_ref']}".strip(),
            "id": project["id"],
        }
    )
    text = f"{about}\n\n{model_table(models)}"
    context.terminal.result({"project": project, "models": models}, text)


@command(
    "project rm",
    "delete a project and its models",
    PROJECT,
    YES,
    examples=["predictd project rm iris"],
)
def rm(context: Context) -> None:
    """Deletes a project and its models; a linked folder stays."""
    project = find_project(context.client, context.arguments.project)
    files = "" if project["linked"] else f" and its files {project['path']}".rstrip()
    context.confirm(f"Delete project {project['name']!r}, its models{files}?")
    context.client.delete(f"/projects/{project['id']}")
    kept = f" The folder {project['path']} stays." if project["linked"] else ""
    text = f"Deleted project {project['name']!r}.{kept}"
    context.terminal.result({"deleted": project["id"]}, text)


def create_project(client: Client, asked: Json, *, wait: bool = True) -> Json:
    """Creates a project and waits for its files; a clone may take minutes."""
    project = client.post("/projects", asked)
    if not wait:
        return project
    if project["creation_status"] == "creating":
        path = f"/projects/{project['id']}"
        project = next(p for p in poll(client, path) if p["creation_status"] != "creating")
    if project["creation_status"] != "success":
        raise CommandFailed(
            f"cannot create project {project['name']!r}: {project['creation_error']}",
            f"delete it with {suggested('project rm', project['name'])}, and try again",
            Exit.FAILED,
        )
    return project


def _text_of(file: str) -> str:
    """The content of a key file, which no message shows."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
    except UnicodeDecodeError:
        message = f"{file} is not a text file"
    raise CommandFailed(message, "name a file that contains the key", Exit.USAGE)


def _folder(text: str) -> Path:
    folder = Path(text).absolute().resolve()
    if not folder.is_dir():
        raise CommandFailed(
            f"folder {folder} does not exist", "create it, or name another", Exit.USAGE
        )
    return folder
