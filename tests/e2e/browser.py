"""Debian's Chromium without a window, driven by the DevTools protocol over a pipe.

    with browser.Browser() as chromium:
        page = chromium.open("http://127.0.0.1:8000/", width=1280)
        page.wait("document.querySelector('#model').value")           # until it is true
        page.click("#run"); page.type("text"); page.press("Tab")
        page.value("1 + 1")                                           # 2
        page.requests; page.complaints                                # URLs it asked for; errors and refusals of the policy

Messages are JSON texts that end with a NUL, on the file descriptors 3 and 4 of the browser.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

TIMEOUT_S = 40
PROGRAM = "chromium"
# Debian's package as root in a container: no sandbox, little /dev/shm; and nothing that calls home.
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--remote-debugging-pipe",
         "--no-first-run", "--no-default-browser-check", "--disable-extensions", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-default-apps", "--hide-scrollbars",
         "--force-color-profile=srgb", "--password-store=basic")
# The virtual key codes of keys that write nothing.
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
        "ArrowDown": 40}


class Browser:
    def __init__(self):
        if shutil.which(PROGRAM) is None:
            raise RuntimeError(f"{PROGRAM} is missing: run scripts/install-dependencies --test")
        self._folder = tempfile.mkdtemp(prefix="logitd-chromium-")
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The shell moves the pipes to the descriptors that Chromium expects.
        moved = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._log = open(pathlib.Path(self._folder) / "log", "w+", encoding="utf-8")
        self._process = subprocess.Popen(
            ["bash", "-c", moved, "bash", PROGRAM, *FLAGS, f"--user-data-dir={self._folder}/profile", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, pass_fds=(to_browser, from_browser),
            start_new_session=True, env={**os.environ, "HOME": self._folder})
        os.close(to_browser)
        os.close(from_browser)
        self._numbers = itertools.count(1)
        self._condition = threading.Condition()
        self._replies: dict[int, dict] = {}
        self._pages: dict[str, Page] = {}
        self._is_closed = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        with open(self._in, "rb") as stream:
            data = b""
            while part := stream.read1(1 << 16):
                *messages, data = (data + part).split(b"\0")
                for message in messages:
                    self._take(json.loads(message))
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _take(self, message: dict) -> None:
        with self._condition:
            if "id" in message:
                self._replies[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                page.take(message["method"], message["params"])
            self._condition.notify_all()

    def call(self, method: str, session: str | None = None, **params: object) -> dict:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        with self._condition:
            done = self._condition.wait_for(lambda: number in self._replies or self._is_closed, TIMEOUT_S)
            if not done or number not in self._replies:
                self._log.flush()
                log = pathlib.Path(self._log.name).read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"Chromium did not answer {method}. Its log:\n{log[-4000:]}")
            reply = self._replies.pop(number)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        """A new page that has loaded `url`."""
        # A context of its own: no cache and no storage of another page.
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        self._pages[session] = page
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.go(url)
        return page

    def wait_for(self, is_true, what: str) -> None:
        with self._condition:
            if not self._condition.wait_for(lambda: is_true() or self._is_closed, TIMEOUT_S) or self._is_closed:
                raise AssertionError(f"Chromium waited in vain for {what}")

    def close(self) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(timeout=TIMEOUT_S)
        except (RuntimeError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=TIMEOUT_S)
        os.close(self._out)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Page:
    """One page. `requests`: the URLs that it asked for. `complaints`: exceptions, console errors, and refusals of the
    content security policy, as texts. `failures`: addresses and statuses of replies from 400 on. `authorizations`: the
    Authorization headers that it sent."""

    def __init__(self, browser: Browser, session: str):
        self._browser = browser
        self._session = session
        self._loads = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.failures: list[tuple[str, int]] = []
        self.authorizations: list[str] = []

    def take(self, method: str, params: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
            headers = params["request"]["headers"]
            self.authorizations += [value for name, value in headers.items() if name.lower() == "authorization"]
        elif method == "Network.responseReceived" and params["response"]["status"] >= 400:
            self.failures.append((params["response"]["url"], params["response"]["status"]))
        elif method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error" and params["entry"]["source"] != "network":
            self.complaints.append(params["entry"]["text"])
        elif method == "Audits.issueAdded" and "contentSecurityPolicyIssueDetails" in params["issue"]["details"]:
            self.complaints.append(json.dumps(params["issue"]))

    def call(self, method: str, **params: object) -> dict:
        return self._browser.call(method, self._session, **params)

    def go(self, url: str) -> None:
        """Loads `url` and waits for the end of loading."""
        loads = self._loads
        failure = self.call("Page.navigate", url=url).get("errorText")
        assert not failure, f"{url}: {failure}"
        self._browser.wait_for(lambda: self._loads > loads, f"the end of loading {url}")

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def value(self, expression: str):
        """The JSON value of a JavaScript expression; a promise is awaited."""
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, f"{expression}: {reply['exceptionDetails']}"
        return reply["result"].get("value")

    def wait(self, expression: str):
        """Waits until the expression is true, and returns its value. The page looks after each change of itself."""
        watched = ("new Promise((resolve, reject) => {"
                   f"const look = () => {{ const value = ({expression}); if (value) {{ watch.disconnect(); resolve(value); }} }};"
                   "const watch = new MutationObserver(look);"
                   "watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});"
                   f"setTimeout(() => reject(new Error('in vain')), {(TIMEOUT_S - 10) * 1000}); look(); }})")
        try:
            return self.value(watched)
        except AssertionError:
            raise AssertionError(f"in vain: {expression}\nthe page: {self.value('document.body.innerText')}\n"
                                 f"its complaints: {self.complaints}") from None

    def click(self, selector: str) -> None:
        """Presses the mouse in the middle of the element."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        x, y = self.middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def middle(self, selector: str) -> tuple[float, float]:
        return tuple(self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"))

    def type(self, text: str) -> None:
        """Writes into the focused element, as an input method does."""
        self.call("Input.insertText", text=text)

    def fill(self, selector: str, text: str) -> None:
        """Replaces the text of an input."""
        self.value(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select(); }})()")
        if text:
            self.type(text)
        else:
            self.call("Input.dispatchKeyEvent", type="keyDown", key="Delete", code="Delete", windowsVirtualKeyCode=46)

    def press(self, key: str, ctrl: bool = False, shift: bool = False) -> None:
        modifiers = (2 if ctrl else 0) | (8 if shift else 0)
        fields = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        if key == "Enter" and not ctrl:
            fields["text"] = "\r"
        self.call("Input.dispatchKeyEvent", type="keyDown", **fields)
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def picture(self, path: pathlib.Path) -> None:
        """A PNG of the window."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
