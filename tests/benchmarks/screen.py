"""The first screen in Chromium with a cold cache: kilobytes, first paint, and when its form can be used."""

import os
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.joblist import bare
from tests.benchmarks.running import Running

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CHROMIUM = os.environ.get("LORAFORGE_CHROMIUM", "/usr/bin/chromium")
ROUNDS = 7
# A new window of Chromium loads its own interface first, some 200 files, on the cores that the page is to have.
SETTLE_MS = 1500

# Usable: a visible, enabled field, and every script of the page that it could need has run
# (deferred scripts and modules run before DOMContentLoaded ends).
WATCH = """
const look = () => {
  const field = [...document.querySelectorAll('main input, main select, main textarea, form input')]
    .find((one) => one.type !== 'hidden' && !one.disabled && one.getClientRects().length);
  const [timing] = performance.getEntriesByType('navigation');
  if (field && timing && timing.domContentLoadedEventEnd > 0) window.usableAt = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def run(stack: Running) -> dict[str, Any]:
    """Sign-in page and new-job page, beside a page with one field and nothing else."""
    _token = stack.token  # makes the user
    cookie = stack.seed("cookie")
    body = Path(stack.data / "empty")
    body.write_bytes(b"")
    found: dict[str, list[dict[str, float]]] = {"login": [], "new_job": [], "floor": []}
    with bare(body) as floor_url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for number in range(ROUNDS + 1):
            shots = {
                "login": _look(browser, f"{stack.url}/login/", {}),
                "new_job": _look(browser, f"{stack.url}/jobs/new/", cookie),
                "floor": _look(browser, f"{floor_url}/", {}),
            }
            for name, shot in shots.items():
                if number:  # the first is for warming up
                    found[name].append(shot)
        browser.close()
    return {
        name: {key: round(median(one[key] for one in shots), 1) for key in shots[0]}
        for name, shots in found.items()
    }


def _look(browser: Browser, url: str, cookie: dict[str, str]) -> dict[str, float]:
    """One visit by somebody who was never here."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    if cookie:
        context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": url}])
    page = context.new_page()
    network = context.new_cdp_session(page)
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    network.send("Network.enable")
    page.add_init_script(WATCH)
    page.wait_for_timeout(SETTLE_MS)
    answer = page.goto(url, wait_until="networkidle")
    assert answer is not None
    assert answer.status == 200, (url, answer.status)
    assert page.url == url, page.url
    page.wait_for_function("window.usableAt")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    usable = page.evaluate("window.usableAt")
    context.close()
    return {
        "kb": sum(sizes) / 1000,
        "requests": len(sizes),
        "first_paint_ms": paint,
        "usable_ms": usable,
    }
