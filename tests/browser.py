"""A headless browser for tests of widgets; tests skip where none is installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@contextmanager
def open_page(file: Path, width: int = 1400, **options) -> Iterator:
    """The page of a file, shown until its first inspector is ready; errors of its scripts fail the test at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.route("http*://**", lambda route: route.abort())  # nothing may need the network
        page.goto(file.as_uri())
        page.wait_for_selector(".pisa-player[data-ready=yes]", timeout=60_000)
        yield page
        browser.close()
        assert not [error for error in errors if "net::ERR_" not in error]


def unreachable(tab, scope: str) -> list[str]:
    """Controls and pictures in `scope` without a name for screen readers, and controls that Tab does not reach."""
    controls = f"[...document.querySelectorAll('{scope} :is(button, select, input, [tabindex=\"0\"])')]"
    controls += ".filter((one) => !one.disabled && one.offsetParent)"
    tab.evaluate("document.activeElement.blur()")
    for _ in range(tab.evaluate(f"{controls}.length") + 4):
        tab.keyboard.press("Tab")
        tab.evaluate("document.activeElement.dataset.reached = 'yes'")
    return tab.evaluate(
        f"""() => {{
            const name = (one) => one.getAttribute("aria-label") || one.labels?.[0]?.textContent.trim();
            const pictures = [...document.querySelectorAll("{scope} > * canvas:not(button canvas)")];
            return {controls}.filter((one) => !one.dataset.reached || !name(one))
                .concat(pictures.filter((one) => !name(one))).map((one) => one.outerHTML.slice(0, 120));
        }}"""
    )
