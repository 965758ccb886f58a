"""What is asked for when a project is made, and what of it is refused before anything is done."""

import msgspec

import store
from builder import RepositoryAddress, read_address, with_identity
from gateway.errors import Refusal
from store import User


class NewProject(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: `path` links a folder of the user's, else we make and own one. `git_key`
    and `git_host_key` are for the clone alone; they are never stored or told."""

    name: str
    description: str = ""
    visibility: store.Visibility = "private"
    template: str = ""
    git_url: str = ""
    git_ref: str = ""
    git_key: str = ""
    git_host_key: str = ""
    path: str = ""
    runtime: str = ""
    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}


def address_of(asked: NewProject, template: str) -> RepositoryAddress | None:
    """What is to be cloned, and the keys for it. Raises CloneRefused or Refusal. Blocking."""
    if template == "git" or asked.git_url:
        return with_identity(read_address(asked.git_url), asked.git_key, asked.git_host_key)
    if asked.git_key or asked.git_host_key:
        raise Refusal("argument.invalid", "git_key, git_host_key: they go with a git_url")
    return None


def refuse_local(asked: NewProject, owner: User) -> None:
    """Raises Refusal: what lies on this machine is read as the gateway's user, who may be root."""
    local = asked.path or asked.git_url.strip().lower().startswith("file:")
    if local and not owner.administrator:
        text = "only a site administrator may make a project of a folder on the gateway's machine"
        raise Refusal("auth.forbidden", text)
