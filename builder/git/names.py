"""Which names git takes for its own folder.

Git runs programs that the files of `.git` name, with the rights of the user who runs git. So no
request may write there, in any spelling that some file system takes for that name.
"""

# Characters that HFS+ ignores in names: a name with one of them differs here, not to git there.
_IGNORED = dict.fromkeys(
    (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)
)


def is_git(name: str) -> bool:
    """Whether git takes a name for `.git` on any file system, by git's own rules."""
    for part in name.split("\\"):
        plain = part.partition(":")[0].translate(_IGNORED).rstrip(". ").lower()
        if plain in (".git", "git~1"):
            return True
    return False
