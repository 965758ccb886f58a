"""The files of a project in a real browser: upload, edit, a conflict, download, delete."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.chromium import HOME, Complaints, Person, sign_in
from tests.support.served_gateway import Gateway

CODE = "def predict(args):\n    return 1\n"


@pytest.fixture
def files(signed_in: Page, complaints: Complaints) -> Page:
    """The page of the files of a project of its user."""
    page = signed_in
    page.goto("/projects/new")
    page.get_by_label("Project Name").fill(f"files-{secrets.token_hex(4)}")
    page.get_by_role("radio", name="Blank").check()
    page.get_by_role("button", name="Create Project").click()
    page.get_by_role("link", name="Files", exact=True).click()
    return page


def test_files_are_uploaded_and_downloaded(files: Page, tmp_path: Path) -> None:
    """Several files are uploaded at once, and the list shows them without a reload; a file comes
    back as it was."""
    data = secrets.token_bytes(300_000)
    (tmp_path / "model.bin").write_bytes(data)
    (tmp_path / "<i>notes.txt").write_text("x")
    files.get_by_label("Upload", exact=True).set_input_files(
        [tmp_path / "model.bin", tmp_path / "<i>notes.txt"]
    )
    expect(files.get_by_text("2 files are uploaded.")).to_be_visible()
    expect(files.get_by_role("link", name="<i>notes.txt", exact=True)).to_be_visible()
    row = files.get_by_role("row").filter(has_text="model.bin")
    with files.expect_download() as begun:
        row.get_by_role("link", name="Download").click()
    assert begun.value.suggested_filename == "model.bin"
    assert Path(begun.value.path()).read_bytes() == data


def test_dropped_file_is_uploaded(files: Page) -> None:
    """A file that is dropped on the form is uploaded into the folder that is shown."""
    files.get_by_text("New Folder", exact=True).click()
    files.get_by_role("textbox", name="Name", exact=True).fill("data")
    files.get_by_role("button", name="Create Folder").click()
    expect(files.get_by_text("The folder is made.")).to_be_visible()
    files.evaluate(
        """
        () => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(["dropped"], "d.txt"));
          const form = document.querySelector("[data-upload]");
          const options = { dataTransfer, bubbles: true, cancelable: true };
          form.dispatchEvent(new DragEvent("drop", options));
        }
        """
    )
    expect(files.get_by_role("link", name="d.txt", exact=True)).to_be_visible()
    files.get_by_role("link", name="d.txt", exact=True).click()
    expect(files.get_by_label("Text of d.txt")).to_have_value("dropped")


def test_second_of_two_who_edit_a_file_is_told(
    gateway: Gateway, files: Page, person: Person, new_context: Callable[[], BrowserContext]
) -> None:
    """Two tabs edit one file: the second one to save is told, sees what is there, and can save."""
    page = files
    page.get_by_text("New File", exact=True).click()
    page.get_by_role("textbox", name="Name", exact=True).fill("predict.py")
    page.get_by_role("button", name="Create File").click()
    other = new_context().new_page()
    sign_in(other, person)
    other.get_by_role("heading", name=HOME).wait_for()
    other.goto(page.url)
    page.get_by_label("Text of predict.py").fill(CODE)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved")
    other.get_by_label("Text of predict.py").fill(CODE.replace("1", "2"))
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("alert")).to_contain_text("Your text is below")
    other.get_by_text("What is there now", exact=True).click()
    expect(other.get_by_role("region", name="The file as it is now")).to_contain_text("return 1")
    expect(other.get_by_label("Text of predict.py")).to_have_value(CODE.replace("1", "2"))
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_role("status")).to_contain_text("Saved")
    page.reload()
    expect(page.get_by_label("Text of predict.py")).to_have_value(CODE.replace("1", "2"))


def test_unsaved_text_is_not_lost_by_a_click(files: Page) -> None:
    """The browser asks before it leaves an editor with a text that is not saved."""
    page = files
    page.get_by_text("New File", exact=True).click()
    page.get_by_role("textbox", name="Name", exact=True).fill("a.txt")
    page.get_by_role("button", name="Create File").click()
    page.get_by_label("Text of a.txt").press_sequentially("typed")
    asked: list[str] = []

    def stay(dialog: object) -> None:
        asked.append(dialog.type)  # type: ignore[attr-defined]
        dialog.dismiss()  # type: ignore[attr-defined]

    page.once("dialog", stay)
    page.get_by_role("link", name="Close").click(no_wait_after=True)
    expect(page.get_by_label("Text of a.txt")).to_have_value("typed")
    assert asked == ["beforeunload"]
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Close").click()
    row = page.get_by_role("row").filter(has_text="a.txt")
    row.get_by_text("Delete", exact=True).click()
    row.get_by_role("button", name="Delete this file").click()
    expect(page.get_by_role("link", name="a.txt", exact=True)).to_have_count(0)


def test_editor_keeps_the_indentation(files: Page) -> None:
    """Enter begins a line as the one before, a step deeper after a colon; Ctrl+Z takes all back."""
    page = files
    page.get_by_text("New File", exact=True).click()
    page.get_by_role("textbox", name="Name", exact=True).fill("add.py")
    page.get_by_role("button", name="Create File").click()
    area = page.get_by_label("Text of add.py")
    area.press_sequentially("def add(args):\na = 1\nreturn a")
    expect(area).to_have_value("def add(args):\n    a = 1\n    return a")
    area.press("Control+z")
    expect(area).to_have_value("")
