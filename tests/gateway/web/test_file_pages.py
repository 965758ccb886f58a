"""The pages of a project's files over HTTP: browse, read, edit, rename, delete."""

import html
import re

import pytest

from tests.support.browsers import OURS, Browser, browser_of
from tests.support.gateway import Gateway


def sha256_in(page: str) -> str:
    found = re.search(r'name="sha256" value="(\w*)"', page)
    assert found
    return found[1]


async def text_of(gateway: Gateway, project: str, path: str) -> str:
    return str((await gateway.get(f"{project}/files/{path}:text"))["text"])


async def test_file_is_created_edited_and_read(shared: Gateway, browser: Browser) -> None:
    """A new file is empty; what is saved is in the project, with its line breaks."""
    project = await browser.created()
    answer = await browser.post(f"{project}/files:new", folder="", name="add.py")
    assert answer.headers["location"] == f"{project}/file/add.py"
    page = (await browser.get(f"{project}/file/add.py")).text
    text = "def add(args):\r\n    return args['a'] + args['b']  # </textarea>\r\n"
    answer = await browser.post(
        f"{project}/file/add.py", text=text, sha256=sha256_in(page), newline="lf"
    )
    assert answer.status_code == 303
    assert await text_of(shared, project, "add.py") == text.replace("\r\n", "\n")
    page = (await browser.get(f"{project}/file/add.py?done=saved")).text
    assert "&lt;/textarea&gt;" in page
    assert "Saved." in page


async def test_file_that_was_changed_meanwhile_is_kept(shared: Gateway, browser: Browser) -> None:
    """Of two who edit a file, the second one is told, keeps their text, and can save it then."""
    project = await browser.created()
    await browser.post(f"{project}/files:new", folder="", name="a.txt")
    seen = sha256_in((await browser.get(f"{project}/file/a.txt")).text)
    await browser.post(f"{project}/file/a.txt", text="first", sha256=seen)
    answer = await browser.post(f"{project}/file/a.txt?done=saved", text="second", sha256=seen)
    assert answer.status_code == 409
    assert "Saved." not in answer.text  # what the address names was done before
    assert ">\nsecond</textarea>" in answer.text
    assert "What is there now" in answer.text
    assert await text_of(shared, project, "a.txt") == "first"
    again = sha256_in(answer.text)
    await browser.post(f"{project}/file/a.txt", text="second", sha256=again)
    assert await text_of(shared, project, "a.txt") == "second"


async def test_line_breaks_of_windows_stay(shared: Gateway, browser: Browser) -> None:
    """A file with CRLF has CRLF after it was edited."""
    project = await browser.created()
    body = {"text": "a\r\nb\r\n"}
    await shared.admin.put(f"{project}/files/w.txt:text", json=body)
    page = (await browser.get(f"{project}/file/w.txt")).text
    assert 'name="newline" value="crlf"' in page
    form = {"text": "a\r\nc\r\n", "sha256": sha256_in(page), "newline": "crlf"}
    await browser.post(f"{project}/file/w.txt", **form)
    assert await text_of(shared, project, "w.txt") == "a\r\nc\r\n"


async def test_long_text_is_saved(shared: Gateway, browser: Browser) -> None:
    """A text of 128 KiB fits into the form, and a longer one is refused with what was typed."""
    project = await browser.created()
    await browser.post(f"{project}/files:new", folder="", name="a.txt")
    seen = sha256_in((await browser.get(f"{project}/file/a.txt")).text)
    answer = await browser.post(f"{project}/file/a.txt", text="é" * 65_536, sha256=seen)
    assert answer.status_code == 303
    seen = sha256_in((await browser.get(f"{project}/file/a.txt")).text)
    answer = await browser.post(f"{project}/file/a.txt", text="x" * 131_073, sha256=seen)
    assert answer.status_code == 400
    assert "x" * 131_073 in answer.text


async def test_folders_are_made_browsed_renamed_and_deleted(
    shared: Gateway, browser: Browser
) -> None:
    """Names with special characters are text, and lead to their folder and file."""
    project = await browser.created()
    odd = "<b>50% of #1?"
    answer = await browser.post(f"{project}/files:folder", folder="", name=odd)
    assert answer.status_code == 303
    inside = answer.headers["location"].partition("?")[0]
    await browser.post(f"{project}/files:new", folder=odd, name="a & b.txt")
    listed = (await browser.get(f"{project}/files")).text
    assert "&lt;b&gt;50% of #1?/</a>" in listed
    assert "<b>50%" not in listed
    page = (await browser.get(inside)).text
    (link,) = re.findall(r'href="(/projects/[^"]+/file/[^"]+)"', page)
    assert (await browser.get(link)).status_code == 200
    await browser.post(f"{project}/files:move", path=f"{odd}/a & b.txt", to="data/b.txt")
    assert ">b.txt</a>" in (await browser.get(f"{project}/files/data")).text
    answer = await browser.post(f"{project}/files:delete", path=odd)
    assert answer.headers["location"] == f"{project}/files?done=deleted"
    assert "50%" not in (await browser.get(f"{project}/files")).text


@pytest.mark.parametrize(
    ("action", "form", "status"),
    [
        ("new", {"folder": "", "name": "predict.py"}, 409),
        ("new", {"folder": "", "name": " "}, 400),
        ("folder", {"folder": "..", "name": "x"}, 400),
        ("move", {"path": "predict.py", "to": ".git/hooks"}, 400),
        ("delete", {"path": "none"}, 404),
    ],
)
async def test_refused_change_is_explained(
    browser: Browser, action: str, form: dict[str, str], status: int
) -> None:
    """A change that the API refuses shows why, and nothing is changed."""
    project = await browser.created()
    before = (await browser.get(f"{project}/file/predict.py")).text
    answer = await browser.client.post(
        f"{project}/files:{action}",
        data={"form_token": browser.token, **form},
        headers={"Sec-Fetch-Site": "same-origin", "Accept": "text/html"},
    )
    assert answer.status_code == status
    assert (await browser.get(f"{project}/file/predict.py")).text == before


async def test_binary_file_is_offered_for_download(shared: Gateway, browser: Browser) -> None:
    """A file that is not text has no editor, and is downloaded through the API."""
    project = await browser.created()
    await shared.admin.put(f"{project}/files", files={"m.bin": ("x", b"\0\xff")})
    page = (await browser.get(f"{project}/file/m.bin")).text
    assert "not text" in page
    assert "<textarea" not in page
    (link,) = re.findall(r'href="(/api/v2[^"]+:download)"', page)
    assert (await browser.get(link)).content == b"\0\xff"


async def test_viewer_reads_and_is_offered_no_change(shared: Gateway, browser: Browser) -> None:
    """A user who may only view a project is offered no editor, and is refused if they save."""
    project = await browser.created(visibility="public")
    async with browser_of(shared) as other:
        page = (await other.get(f"{project}/file/predict.py")).text
        assert "def " in page
        assert "<textarea" not in page
        listed = (await other.get(f"{project}/files")).text
        assert ">Download</a>" in listed
        assert "Delete" not in listed
        assert "New File" not in listed
        assert (await other.post(f"{project}/file/predict.py", text="")).status_code == 403
        answer = await other.post(f"{project}/files:delete", path="predict.py")
        assert answer.status_code == 403


async def test_content_of_a_file_is_no_data_of_a_page(shared: Gateway, browser: Browser) -> None:
    """A path that leads to the content of a file in the API shows none of it, also where the
    content looks like a reply of the API. A folder of such a name is shown."""
    project = await browser.created()
    await browser.post(f"{project}/files:folder", folder="", name="folder:text")
    assert "No files here yet" in (await browser.get(f"{project}/files/folder:text")).text
    forged = b'{"files": [{"path": "forged"}], "next_page_token": ""}'
    await shared.admin.put(f"{project}/files", files={"forged.json": ("x", forged)})
    for path in ("files/forged.json:download", "files/forged.json:text"):
        answer = await browser.get(f"{project}/{path}")
        assert answer.status_code == 404
        assert "forged</" not in answer.text


async def test_files_are_uploaded_without_scripts(shared: Gateway, browser: Browser) -> None:
    """The plain form puts files into its folder, under their own names; what it refuses is on the
    page, and it needs the token of its session."""
    project = await browser.created()
    page = (await browser.get(f"{project}/files")).text
    (action,) = re.findall(r'enctype="multipart/form-data" action="([^"]+)"', page)
    action = html.unescape(action)
    files = [("/", ("a.txt", b"one")), ("/", ("b.txt", b"two" * 100_000))]
    answer = await browser.client.post(action, files=files, headers=OURS)
    assert answer.headers["location"] == f"{project}/files?done=uploaded"
    assert "The files are uploaded" in (await browser.get(answer.headers["location"])).text
    found = await shared.get(f"{project}/files", page_size=100)
    sizes = {each["path"]: each["file_size"] for each in found["files"]}
    assert (sizes["a.txt"], sizes["b.txt"]) == ("3", "300000")
    into = action.replace("folder=", "folder=data")
    await browser.post(f"{project}/files:folder", folder="", name="data")
    answer = await browser.client.post(into, files=[("data/", ("c.txt", b"x"))], headers=OURS)
    assert answer.headers["location"] == f"{project}/files/data?done=uploaded"
    empty = b'--b\r\nContent-Disposition: form-data; name="/"; filename=""\r\n\r\n\r\n--b--\r\n'
    headers = OURS | {"Content-Type": "multipart/form-data; boundary=b"}
    refused = await browser.client.post(action, content=empty, headers=headers)
    assert refused.status_code == 400
    assert "Choose at least one file" in refused.text
    files = [("../", ("x", b""))]
    refused = await browser.client.post(action, files=files, headers=OURS)
    assert refused.status_code == 400
    forged = re.sub("form_token=[^&]+", "form_token=x", action)
    refused = await browser.client.post(forged, files=files, headers=OURS)
    assert refused.status_code == 403
    async with browser_of(shared) as other:
        own = action.replace(browser.token, other.token)
        assert (await other.client.post(own, files=files, headers=OURS)).status_code in (403, 404)
    entries = (await shared.get("/audit", who=browser.name, action="file.upload"))["entries"]
    assert [each["outcome"] for each in entries] == [
        *("done", "done", "argument.invalid", "path.refused", "auth.csrf")
    ]
