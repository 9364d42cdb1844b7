"""The system's Chromium without a window, and a page of a file in it that reports what a user would not see.

The page draws after a click has returned. A test therefore looks at it with ``expect``, which waits for what it looks
for; ``all_inner_texts``, ``count`` and their kind do not wait.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.waiting import MOST_SECONDS

__all__ = ["Watched", "opened_browser"]

_MOST_MILLISECONDS = 1000 * MOST_SECONDS
expect.set_options(timeout=_MOST_MILLISECONDS)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Skips where there is none. To be closed before another event loop starts in this thread."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; apt-get install chromium")
    with sync_playwright() as playwright:
        # Its own sandbox does not start for root, nor in most containers; the pages are ours.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=_MOST_MILLISECONDS
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, with what it said on the console, what failed in it, and what it asked for."""

    def __init__(self, browser: Browser, file: Path, *, fragment: str = "", **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(_MOST_MILLISECONDS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dismiss)
        self.url = file.resolve().as_uri()
        self.page.goto(self.url + fragment)
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def wait_for_complaint(self, text: str) -> None:
        """Return once the console holds the text; its messages come after what caused them."""
        if not any(text in complaint for complaint in self.complaints):
            self.page.wait_for_event("console", lambda message: text in message.text)

    def assert_quiet(self) -> None:
        """Nothing failed, and nothing but the file itself was asked for."""
        assert not self.complaints, self.complaints
        assert not self.dialogs, self.dialogs
        foreign = [url for url in self.requests if not url.startswith((self.url, "blob:file"))]
        assert not foreign, foreign

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
