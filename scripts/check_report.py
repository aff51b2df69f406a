#!/usr/bin/env python3
"""Opens the page of `albacore report` in a browser and checks what no test of text can see.

    pip install playwright
    python scripts/check_report.py runs/data/report.html --browser $(which chromium) --shots shots/

At 400 and 1,000 pixels, light and dark: nothing runs over the edge, nothing is asked of any network and
nothing is complained of. A verdict survives a reload, is saved as JSON, and can be forgotten; without
scripts no button stands there that does nothing. The screenshots are for a person to look at.
"""

import argparse
import json
import pathlib

from playwright.sync_api import sync_playwright


def look(browser, page_url, shots):
    """Screenshots in both schemes and widths."""
    for scheme in ["light", "dark"]:
        for width in [400, 1000]:
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
            page, told, asked = context.new_page(), [], []
            page.on("console", lambda message: told.append(message.text))
            page.on("pageerror", lambda error: told.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(page_url)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{wide} pixels wide at {width}"
            assert asked == [page_url] and not told, (asked, told)
            page.screenshot(path=shots / f"{scheme}-{width}.png", full_page=True)
            context.close()


def rate(browser, page_url):
    """Verdicts are kept, saved and forgotten."""
    page = browser.new_context(accept_downloads=True).new_page()
    page.goto(page_url)
    told = page.locator("output")
    page.locator(".sample input[value=good]").nth(0).check()
    page.locator(".sample input[value=flawed]").nth(1).check()
    page.reload()
    assert "valid instruction: 1 of 1 good · appropriate input: 0 of 1" in told.inner_text()
    with page.expect_download() as download:
        page.locator("[data-do=save]").click()
    saved = json.loads(pathlib.Path(download.value.path()).read_text())
    wanted = {"valid_instruction": "good", "appropriate_input": "flawed"}
    assert saved["records"][0]["verdicts"] == wanted, saved["records"][0]
    page.locator("[data-do=forget]").click()
    assert "valid instruction: 0 of 0 good" in told.inner_text()
    still = browser.new_context(java_script_enabled=False).new_page()
    still.goto(page_url)
    assert not still.locator(".verdicts").is_visible()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--browser", help="path of a Chromium; default playwright's own")
    parser.add_argument("--shots", type=pathlib.Path, default=pathlib.Path("shots"))
    options = parser.parse_args()
    options.shots.mkdir(parents=True, exist_ok=True)
    page_url = options.page.resolve().as_uri()
    with sync_playwright() as playwright:
        # Containers run as root, where Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=options.browser, args=["--no-sandbox"])
        look(browser, page_url, options.shots)
        rate(browser, page_url)
        browser.close()
    print(f"the page is as it should be; look at the screenshots in `{options.shots}`")


if __name__ == "__main__":
    main()
