"""Writes the commands that messages suggest, so that they can be pasted.

Users choose the names of projects, models, files and experiments; a name with a space or a `&` is
quoted. A message with such a name builds its command here and nowhere else (a test holds this).
"""

import shlex


def sentences(*advice: str) -> str:
    """Pieces of advice as one text, in which each but the last ends with a full stop. Empty ones
    are left out."""
    first, *others = [each for each in advice if each] or [""]
    for each in others:
        end = "" if first.endswith((".", "!", "?")) else "."
        first = f"{first}{end} {each[:1].upper()}{each[1:]}"
    return first


def suggested(verb: str, *words: object) -> str:
    """`predictd VERB WORD ...` in backticks. `verb` may have several words and is not quoted; each
    of the other words is one argument."""
    return f"`{' '.join(('predictd', verb, *(shlex.quote(str(each)) for each in words)))}`"
