"""Headless Chromium through its driver, with nothing but the standard library: Debian's chromium and chromium-driver."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime_tests.tools import TOOLS, require

PROGRAMS = ("chromium", "chromedriver")
AXE = TOOLS / "node_modules" / "axe-core" / "axe.min.js"
STARTED = re.compile(r"started successfully on port (\d+)")
OPTIONS = {
    "browserName": "chrome",
    "goog:loggingPrefs": {"browser": "ALL"},
    "goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]},
}
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Browser:
    """One window."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/session"
        session = self._call("POST", "", {"capabilities": {"alwaysMatch": OPTIONS}})
        self._base += f"/{session['sessionId']}"

    def open(self, page: Path) -> None:
        """Load a file."""
        self._call("POST", "/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str) -> Any:
        """What a script hands to its last argument, a function."""
        return self._call("POST", "/execute/async", {"script": script, "args": []})

    def press(self, selector: str, key: str) -> None:
        """Give an element the keyboard, and press a key."""
        self.run("document.querySelector(arguments[0]).focus()", selector)
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def resize(self, width: int, height: int) -> None:
        """Size of what is shown, also below the smallest window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        self._devtools("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def console(self) -> list[str]:
        """What the browser complained about since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: Path) -> None:
        """A PNG of what is shown."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self._call("POST", "/print", {}))

    def close(self) -> None:
        """Close the window."""
        self._call("DELETE", "")

    def _devtools(self, command: str, parameters: dict[str, Any]) -> None:
        self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        data = json.dumps(content).encode() if content is not None else None
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # the driver on this machine
            return json.load(answer)["value"]


@contextmanager
def started_browser() -> Iterator[Browser]:
    """A browser; skips where there is none, or fails with HAKUNA_REQUIRE_TOOLS=1."""
    require([program for program in PROGRAMS if not shutil.which(program)])
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        port = next(int(found[1]) for line in driver.stdout if (found := STARTED.search(line)))
        browser = Browser(port)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.communicate()


def axe_violations(browser: Browser) -> list[str]:
    """What axe-core finds on the page; skips where it is missing, or fails with HAKUNA_REQUIRE_TOOLS=1."""
    require([] if AXE.exists() else ["axe-core"])
    browser.run(AXE.read_text(encoding="utf-8"))
    found = browser.wait(f"axe.run({{runOnly: {json.dumps(AXE_TAGS)}}}).then(arguments[arguments.length - 1])")
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found["violations"]]
