"""Writes a picture of every page: light and dark, English and Chinese, 1440 and 1024 pixels wide.

    python tools/screenshots.py http://127.0.0.1:8000 --user alice --out /tmp/pictures [--job 41] [--only home,job]

The password comes from LORAFORGE_PASSWORD. Nothing on the server is changed but the language of the user.
Exits with 1 when a page logs an error in the browser's console, which is how a refused inline style shows.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CHROMIUM = os.environ.get("LORAFORGE_CHROMIUM", "/usr/bin/chromium")
WIDTHS = (1440, 1024)
HEIGHT = 900
SETTLE_MS = 1200


@dataclass(frozen=True)
class Shot:
    """One look: theme, language, width."""

    theme: str
    language: str
    width: int

    @property
    def folder(self) -> str:
        return f"{self.theme}-{self.language}-{self.width}"


def addresses(job: int | None, node: str | None, dataset: int | None) -> Iterator[tuple[str, str]]:
    """Name of the picture -> path."""
    yield "home", "/"
    yield "jobs", "/jobs/"
    yield "jobs-empty", "/jobs/?q=no-such-job"
    yield "new", "/jobs/new/"
    if job:
        yield "job", f"/jobs/{job}/"
        for tab in ("files", "settings", "history"):
            yield f"job-{tab}", f"/jobs/{job}/?tab={tab}"
        yield "clone", f"/jobs/new/?from={job}"
    yield "datasets", "/datasets/"
    if dataset:
        yield "dataset", f"/datasets/{dataset}/"
    yield "nodes", "/nodes/"
    if node:
        yield "node", f"/nodes/{node}/"
    yield "account", "/account/"
    yield "404", "/no-such-page/"


def sign_in(page: Page, base: str, user: str, password: str) -> None:
    """Through the form, as a person does."""
    page.goto(f"{base}/login/")
    page.fill("#id_username", user)
    page.fill("#id_password", password)
    page.click("main button[type=submit]")
    page.wait_for_selector("nav.lf-side")


def context_of(browser: Browser, base: str, shot: Shot) -> BrowserContext:
    """A fresh browser profile with this look."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": HEIGHT}, color_scheme="light", locale=shot.language
    )
    context.add_init_script(f"localStorage.setItem('lf-theme', '{shot.theme}')")
    context.add_cookies([{"name": "django_language", "value": shot.language, "url": base}])
    return context


def shoot(browser: Browser, arguments: argparse.Namespace, shot: Shot) -> list[str]:
    """All pages of one look; returns what the browser complained about."""
    folder = Path(arguments.out) / shot.folder
    folder.mkdir(parents=True, exist_ok=True)
    context = context_of(browser, arguments.base, shot)
    page = context.new_page()
    complaints: list[str] = []
    here = ""
    page.on("pageerror", lambda error: complaints.append(f"{shot.folder} {here}: {error}"))
    page.on(
        "console",
        lambda message: (
            complaints.append(f"{shot.folder} {here}: {message.text}")
            if message.type == "error" and "404" not in message.text
            else None
        ),
    )
    page.goto(f"{arguments.base}/login/")
    page.screenshot(path=folder / "login.png")
    sign_in(page, arguments.base, arguments.user, os.environ["LORAFORGE_PASSWORD"])
    context.add_cookies(
        [{"name": "django_language", "value": shot.language, "url": arguments.base}]
    )
    wanted = set(arguments.only.split(",")) if arguments.only else set()
    for name, path in addresses(arguments.job, arguments.node, arguments.dataset):
        if wanted and name not in wanted:
            continue
        here = name
        page.goto(f"{arguments.base}{path}")
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
    context.close()
    return complaints


def main() -> int:
    """Parse, shoot, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base")
    parser.add_argument("--user", default="alice")
    parser.add_argument("--out", default="screenshots")
    parser.add_argument("--job", type=int)
    parser.add_argument("--dataset", type=int)
    parser.add_argument("--node")
    parser.add_argument("--only", default="")
    parser.add_argument("--themes", default="light,dark")
    parser.add_argument("--languages", default="en,zh-hans")
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    arguments = parser.parse_args()
    looks = product(
        arguments.themes.split(","),
        arguments.languages.split(","),
        map(int, arguments.widths.split(",")),
    )
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for theme, language, width in looks:
            complaints += shoot(browser, arguments, Shot(theme, language, width))
        browser.close()
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
