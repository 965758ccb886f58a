"""The check of pages finds a hostile text that is not escaped."""

import pytest
from markupsafe import escape

from tests.support.hostile_html import LINE, LINK, NAME, PAGE, PICTURE, TEXT, check_page

_PLACES = (
    "<p>%s</p>",
    "<pre>\n%s</pre>",
    "<title>%s</title>",
    "<textarea>%s</textarea>",
    '<p title="%s">x</p>',
    "<p title='%s'>x</p>",
    "<p title=%s>x</p>",
    "<!-- %s -->",
    '<div id="rows" data-live>%s</div><!--live-->',
)


@pytest.mark.parametrize("text", [NAME, TEXT, LINE])
@pytest.mark.parametrize("place", _PLACES)
def test_markup_is_found(place: str, text: str) -> None:
    """Wherever a text is in a page as it is, it brings an element or an attribute."""
    assert check_page(place % text).wrong


@pytest.mark.parametrize("address", [LINK, "//x-ran", "/\\x-ran", "https://x-ran", "data:,x-ran"])
@pytest.mark.parametrize("place", ['<a href="%s">x</a>', '<form action="%s"></form>'])
def test_link_is_found(place: str, address: str) -> None:
    """An address that is not one of this gateway is found."""
    assert check_page(place % address).wrong


@pytest.mark.parametrize("file", [PAGE, PICTURE])
def test_file_is_found(file: str) -> None:
    assert check_page(file).wrong


@pytest.mark.parametrize("text", [NAME, TEXT, LINE, LINK, PAGE, PICTURE])
def test_escaped_text_is_text(text: str) -> None:
    """An escaped text is seen, and is nothing else."""
    check = check_page(f'<p title="{escape(text)}">{escape(text)}</p>')
    assert check.wrong == []
    assert check.shows == ("x-ran" in text)
