"""Make the README's picture of the dashboard from the demo's page: overview, products, and one product in detail.

python -m tools.picture build/demo/dashboard.html docs/dashboard.png

It needs Chromium, the development packages (playwright) and Pillow, which comes with matplotlib.
"""

from __future__ import annotations

import argparse
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

__all__ = ["main"]

# Pixels of the page, of the space around its parts, and of the picture's width.
_WIDTH, _SPACE, _PICTURE = 1000, 24, 1500
_PAPER = (245, 245, 243)
# A picture of few colours is a quarter of the size of one of all.
_COLOURS = 96
# Of an element, measured from the top of its section.
_BOTTOM = "e => e.getBoundingClientRect().bottom - e.closest('section').getBoundingClientRect().top"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--product", default="kettle-k2", help="shown in detail; default: %(default)s")
    options = parser.parse_args(arguments)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no Chromium; install it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": _WIDTH})
        address = options.page.resolve().as_uri()
        page.goto(address)
        page.locator("#chart-trend svg").wait_for()
        end = page.locator("#chart-trend").evaluate(_BOTTOM)
        overview = _section(page, "overview")
        overview = overview.crop((0, 0, overview.width, round(end) + _SPACE // 2))
        products = _section(page, "products")
        page.goto(f"{address}#product={options.product}")
        page.reload()
        page.locator("#chart-course svg").wait_for()
        detail = _section(page, "product")
        browser.close()
    height = overview.height + _SPACE + products.height
    whole = Image.new("RGB", (overview.width + detail.width + 3 * _SPACE, height + 2 * _SPACE), _PAPER)
    whole.paste(overview, (_SPACE, _SPACE))
    whole.paste(products, (_SPACE, height + _SPACE - products.height))
    whole.paste(detail.crop((0, 0, detail.width, height)), (overview.width + 2 * _SPACE, _SPACE))
    small = whole.resize((_PICTURE, round(whole.height * _PICTURE / whole.width)), Image.Resampling.LANCZOS)
    small.quantize(_COLOURS, dither=Image.Dither.NONE).save(options.picture, optimize=True)
    return 0


def _section(page: Page, name: str) -> Image.Image:
    return Image.open(io.BytesIO(page.locator(f"section#{name}").screenshot())).convert("RGB")


if __name__ == "__main__":
    raise SystemExit(main())
