"""Makes the pictures of the README: `python -m tests.web.readme_pictures`.

It takes a quarter of an hour, in which the model on the pictures is really called.
"""

import base64
import math
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect

from gateway.client import Json
from tests.support.chromium import chromium, sign_in
from tests.support.sample_site import populate
from tests.support.served_gateway import Gateway, at

FOLDER = Path(__file__).parent / "pictures"
_MINUTES = 15.0
_WIDTH = 1240
_CALLERS = 3
_PIXELS = """
async (shot) => {
  const bytes = Uint8Array.from(atob(shot), (each) => each.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes]));
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const { data } = canvas.getContext("2d").getImageData(0, 0, image.width, image.height);
  let text = "";
  for (let at = 0; at < data.length; at += 8192)
    text += String.fromCharCode(...data.subarray(at, at + 8192));
  return [image.width, image.height, btoa(text)];
}
"""


def main(minutes: float) -> None:
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as work,
        Gateway(Path(work) / "data", isolation="none") as gateway,
        chromium() as browser,
    ):
        site = populate(gateway, Path(work), long="notes")
        model = dict(gateway.client.get(site.model))
        with _called(gateway, model):
            time.sleep(60 * minutes * 2 / 3)
            build = gateway.client.get(f"{site.model}/builds/{site.values['build_id']}")
            gateway.deploy(model, build, replicas=3)
            time.sleep(60 * minutes / 3)
            page = browser.new_context(base_url=gateway.url).new_page()
            sign_in(page, site.administrator)
            page.wait_for_url("**/")
            page.goto(f"{at(model)}/monitoring")
            _take(page, "monitoring", height=1080)
        page.goto(at(model))
        page.get_by_role("button", name="Test", exact=True).click()
        expect(page.locator(".result")).to_contain_text("200 success")
        _take(page, "model", height=960)
        page.goto(f"{site.project}/experiments/compare")
        _take(page, "experiments", height=960)


def _take(page: Page, name: str, height: int) -> None:
    page.set_viewport_size({"width": _WIDTH, "height": height})
    page.wait_for_timeout(1000)  # for what is live
    blank = page.context.new_page()
    shot = base64.b64encode(page.screenshot()).decode()
    width, high, pixels = blank.evaluate(_PIXELS, shot)
    blank.close()
    picture = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(high, width, 4)
    (FOLDER / f"{name}.png").write_bytes(_png(picture[:, :, :3]))


def _png(picture: np.ndarray) -> bytes:
    """A PNG with the 256 colours that are most of the picture; a third of the size of one with
    all."""
    height, width, _ = picture.shape
    colours, at, counts = np.unique(
        picture.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    palette = colours[np.argsort(-counts)[:256]]
    distances = (colours[:, None, :].astype(int) - palette[None, :, :].astype(int)) ** 2
    rows = distances.sum(axis=2).argmin(axis=1)[at].reshape(height, width).astype(np.uint8)
    unfiltered = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", palette.tobytes()),
            (b"IDAT", zlib.compress(unfiltered, 9)),
            (b"IEND", b""),
        )
    )


@contextmanager
def _called(gateway: Gateway, model: Json) -> Iterator[None]:
    """Calls the model meanwhile, more and less often; one call in 400 fails."""
    stop = threading.Event()

    def call() -> None:
        number = 0
        while not stop.wait(0.12 + 0.1 * math.sin(time.monotonic() / 60)):
            number += 1
            length = 99.0 if number % 400 == 0 else 1 + number % 50 / 10
            gateway.call(model, {"petal_length": length})

    callers = [threading.Thread(target=call) for _ in range(_CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        stop.set()
        for caller in callers:
            caller.join()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else _MINUTES)
