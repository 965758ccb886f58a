"""The verbs `predictd project create|ls|show|rm`."""

from pathlib import Path

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import find_project
from gateway.cli.models import confirm_or_exit, model_table
from gateway.cli.terminal import facts, table
from gateway.cli.watch import look_again
from gateway.client import Client, Json

# The admin API says `Python` where the command line says python.
TEMPLATES = {"python": "Python", "churn": "churn", "blank": "blank"}


def create(context: Context) -> None:
    """A project from a template, of a folder that is there already, or of a git repository."""
    arguments = context.arguments
    wish = {"name": arguments.name}
    if arguments.ref and not arguments.git:
        raise CommandFailed("--ref goes with --git.", "Say which repository.", Exit.USAGE)
    keys = {"git_key": arguments.git_key, "git_host_key": arguments.git_host_key}
    if any(keys.values()) and not arguments.git:
        text = "--git-key and --git-host-key go with --git."
        raise CommandFailed(text, "Say which repository.", Exit.USAGE)
    if arguments.path:
        wish |= {"template": "local", "path": str(_folder(arguments.path))}
    elif arguments.git:
        wish |= {"template": "git", "git_url": arguments.git, "git_ref": arguments.ref}
        wish |= {name: _text_of(file) for name, file in keys.items() if file}
    else:
        wish["template"] = TEMPLATES[arguments.template]
    with context.terminal.live(f"making the project {arguments.name}"):
        project = create_project(context.client, wish)
    context.terminal.result(
        project,
        f"The project {project['name']!r} is in {project['path']}.\n"
        f"Serve a function of it with `predictd deploy FILE:FUNCTION --project {project['name']}`.",
    )


def ls(context: Context) -> None:
    """All projects."""
    projects = context.client.listing("/projects")
    rows = [
        (each["name"], each["template"], each["creation_status"], each["path"]) for each in projects
    ]
    nothing = "No project yet. Make one with `predictd project create NAME`."
    text = table(("PROJECT", "TEMPLATE", "STATUS", "FOLDER"), rows) if rows else nothing
    context.terminal.result({"projects": projects}, text)


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


def secret(context: Context) -> None:
    """Sets a secret of a project: its value is typed unseen, or the first line of stdin."""
    project, name = find_project(context.client, context.arguments.project), context.arguments.name
    removed = context.arguments.remove
    value = "" if removed else context.terminal.secret(f"Value of {name}")
    if not value and not removed:
        raise CommandFailed("No value was given.", "Type one, or --remove it.", Exit.USAGE)
    changed = context.client.patch(f"/projects/{project['id']}", {"secrets": {name: value}})
    text = (
        f"{name} is {'removed' if removed else 'set'}. Builds, experiments and deployments that "
        f"begin from then on see that. Secrets: {', '.join(changed['secrets']) or 'none'}."
    )
    context.terminal.result({"project": changed["id"], "secrets": changed["secrets"]}, text)


def rm(context: Context) -> None:
    """Deletes a project and its models; a linked folder stays as it is."""
    project = find_project(context.client, context.arguments.project)
    files = f"its models and its files {project['path']}".rstrip()
    what = "the models of it" if project["linked"] else files
    confirm_or_exit(context, f"Delete the project {project['name']!r} and {what}?")
    context.client.delete(f"/projects/{project['id']}")
    kept = f" The folder {project['path']} stays as it is." if project["linked"] else ""
    text = f"The project {project['name']!r} is deleted.{kept} See `predictd project ls`."
    context.terminal.result({"deleted": project["id"]}, text)


def create_project(client: Client, wish: Json) -> Json:
    """Makes a project and waits until its files are there; a clone may take minutes."""
    project = client.post("/projects", wish)
    while project["creation_status"] == "creating":
        project = look_again(client, f"/projects/{project['id']}")
    if project["creation_status"] != "success":
        raise CommandFailed(
            f"The project {project['name']!r} could not be made: {project['creation_error']}",
            f"Mend that, `predictd project rm {project['name']}`, and try again.",
            Exit.FAILED,
        )
    return project


def _text_of(file: str) -> str:
    """What is in a key file. What is in it is never shown."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        text = f"{file} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        text = f"{file} is not a text file"
    raise CommandFailed(text, "Name a file that holds the key.", Exit.USAGE)


def _folder(text: str) -> Path:
    folder = Path(text).absolute().resolve()
    if not folder.is_dir():
        raise CommandFailed(
            f"There is no folder {folder}.", "Make it, or name another.", Exit.USAGE
        )
    return folder
