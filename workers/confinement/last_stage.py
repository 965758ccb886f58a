"""The last program before the command itself: a shell that has the command's rights and no more.

The programs before it (setpriv, bubblewrap, the Python that enters Landlock) may have more rights.
Law: none of them interprets a byte that a project chose. So they start with an empty environment,
in `/`, and with arguments that are ours alone. The command, its folder and its variables are lines
of a script. This shell reads it from its standard input, a file in memory, so none of it is visible
in /proc/*/cmdline.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from workers.confinement.memory_files import open_in_memory

# The same file outside and in every view.
SHELL = ("/bin/sh", "-s")
# Variables that a shell reserves (bash as `sh` more than others): it refuses or changes the values
# that it is given.
RESERVED = {
    *("BASHOPTS", "BASHPID", "BASH_ARGV0", "BASH_COMMAND", "BASH_SUBSHELL", "BASH_VERSINFO"),
    *("DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD"),
    *("LINENO", "OPTIND", "PIPESTATUS", "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SRANDOM"),
    *("UID", "_"),
}


class ProjectCommand(msgspec.Struct, frozen=True):
    """A project's program: its words, its working folder, and all of its variables but the mark.
    Its standard input is empty, or with `reads_output` its standard output, a terminal."""

    words: Sequence[str]
    cwd: str
    variables: Mapping[str, str]
    reads_output: bool = False

    def open_script(self, mark: str) -> int:
        """A descriptor of the script, for the shell's standard input. The variable `mark`, which
        the shell already has, keeps its value. Raises OSError, and ValueError for words or
        variables that no process can have."""
        return open_in_memory("script", b"".join(self._lines(mark)))

    def _lines(self, mark: str) -> Iterator[bytes]:
        yield b"cd -P %s || exit 126\n" % _quoted(self.cwd)
        # The shell set these itself.
        yield b"unset PWD OLDPWD SHLVL\n"
        for name, value in self.variables.items():
            if not (name.isascii() and name.isidentifier()) or name in RESERVED:
                raise ValueError(f"{name!r} is not a name that a variable can have here")
            if name != mark:
                yield b"export %s=%s\n" % (name.encode(), _quoted(value))
        stdin = b"<&1" if self.reads_output else b"</dev/null"
        yield b"exec %s %s\n" % (b" ".join(map(_quoted, self.words)), stdin)


def _quoted(text: str) -> bytes:
    """Any text as one word of a shell. Raises ValueError for a NUL."""
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("a NUL in a variable or an argument")
    return b"'%s'" % encoded.replace(b"'", b"'\\''")
