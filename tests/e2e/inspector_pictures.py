"""Makes the pictures of docs/inspector.md with the real model, after a build.

    PYTHONPATH=tests/e2e LOGITD_ROOT=$PWD python3 tests/e2e/inspector_pictures.py docs/images
"""

import pathlib
import sys

import browser
import harness
import http_case

PROMPT = "The largest planet of the solar system is Jupiter. The smallest planet of the solar system is"
CANDIDATES = (" Mercury, which is close to the Sun.", " Mercury, which is close to the Moon.", " the planet of all planets.")


def fill_in(page: browser.Page) -> None:
    page.wait("document.querySelector('#model').value")
    page.fill("#prompt", PROMPT)
    page.click("#form .main")
    page.wait("!document.body.dataset.busy && document.querySelector('#tokens button:not(.prompt-token)')")
    page.fill("#view-temperature", "0.7")
    page.wait("document.querySelector('#exactness').textContent.startsWith('Exact')")
    # By the script: a click by the mouse would move the page under the pointer.
    page.value("document.querySelector('#add-candidate').click()")
    for i, text in enumerate(CANDIDATES):
        page.fill(f"#candidates li:nth-child({i + 1}) textarea", text)
    page.value("document.querySelector('#candidates-form .main').click()")
    page.wait(f"document.querySelectorAll('.candidate').length === {len(CANDIDATES)}")
    page.value("document.activeElement.blur()")
    page.value("scrollTo(0, 0)")
    page.hover("h1")
    page.wait("document.querySelector('#exactness').textContent.startsWith('Exact')")


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    server = harness.Server(model=harness.model_path())
    served = http_case.HttpServer(server.address)
    try:
        with browser.Browser() as chromium:
            for name, width, height, dark in (("wide", 1280, 1500, False), ("narrow", 400, 1500, True)):
                page = chromium.open(f"http://127.0.0.1:{served.port}/", width, height, dark)
                fill_in(page)
                page.picture(folder / f"inspector-{name}.png")
    finally:
        served.stop()
        server.stop()


if __name__ == "__main__":
    main()
