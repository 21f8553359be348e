"""Writes a picture of every page: light and dark, English and Chinese, 1440 and 1024 pixels wide.

    make screenshots [ARGS="--out /tmp/pictures --only home,job --themes dark --languages en --widths 1440"]

Without an address it fills a platform of its own (tools/showroom) with jobs of every state and ends it again.
With one, it looks at that: ``python tools/screenshots.py http://127.0.0.1:8000 --user alice --job 41``, password in
LORAFORGE_PASSWORD; nothing on the server is changed but the language of the user.
Exits with 1 when a page logs an error in the browser's console, which is how a refused inline style shows.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tools.showroom import showroom

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CHROMIUM = os.environ.get("LORAFORGE_CHROMIUM", "/usr/bin/chromium")
WIDTHS = (1440, 1024)
HEIGHT = 900
SETTLE_MS = 600
# The browser reports these although the page deals with them.
EXPECTED = re.compile(r"\b(400|401|403|404|422|ERR_INTERNET_DISCONNECTED)\b")


@dataclass(frozen=True)
class Shot:
    """One look: theme, language, width."""

    theme: str
    language: str
    width: int

    @property
    def folder(self) -> str:
        return f"{self.theme}-{self.language}-{self.width}"


@dataclass(frozen=True)
class View:
    """One picture: its name, the path, who looks, and what is done there first."""

    name: str
    path: str
    user: str = ""
    prepare: Callable[[Page], object] = lambda _page: None


def _all_arguments(page: Page) -> None:
    page.click("#all-arguments > summary")
    page.wait_for_selector("[data-all] .lf-argument", state="attached")  # its section is shut
    page.fill("#argument-search", "learning rate")


def _filled_form(page: Page) -> None:
    page.fill("#a-learning_rate", "abc")
    page.click("[data-start='1']")


def _cut_off(page: Page) -> None:
    """The server cannot be reached any more."""
    page.context.set_offline(True)
    page.wait_for_selector(".lf-offline:not([hidden])")


def _cancel_asked(page: Page) -> None:
    page.click(".lf-job-head .dropdown button")
    page.click("[data-act='cancel']")
    page.wait_for_selector("#dialog.show")


def _move_asked(page: Page) -> None:
    page.click(".lf-job-head .dropdown button")
    page.click("[data-act='migrate']")
    page.wait_for_selector("#dialog.show input")


def _node_asked(page: Page, act: str) -> None:
    page.click(f"[data-node-act='{act}']")
    page.wait_for_selector("#dialog.show")


def _resume_asked(page: Page) -> None:
    page.click("[data-act='resume']")
    page.wait_for_selector("#dialog.show .lf-picker")


def _explained(page: Page) -> None:
    page.click("[data-explain]")
    page.wait_for_selector("#dialog.show .lf-explain-line")


def _reserve_refused(page: Page) -> None:
    page.click("[data-reserve]")
    page.wait_for_selector("#dialog.show [data-reserve-form]")
    page.click("#dialog [data-dialog-ok]")
    page.wait_for_selector("#dialog .is-invalid")


def _share_asked(page: Page) -> None:
    page.click("[data-recipe-act='share']")
    page.wait_for_selector("#dialog.show .lf-picker .lf-item")


def _left_and_back(page: Page) -> None:
    """The form as it was left a moment ago."""
    page.fill("#a-lora_rank", "64")
    page.reload()
    page.wait_for_selector("[data-draft-note]:not([hidden])")


def _past_asked(page: Page) -> None:
    page.click("[data-past]")
    page.wait_for_selector("#dialog.show [data-past-list]")


def _recipe_save_asked(page: Page) -> None:
    page.click("[data-recipe-save]")
    page.wait_for_selector("#dialog.show #recipe-name")


def _menu_opened(page: Page) -> None:
    page.click(".lf-job-head .dropdown button")


def _wrong_password(page: Page) -> None:
    page.fill("#id_username", "alice")
    page.fill("#id_password", "wrong")
    page.click("main button[type=submit]")


def _admin_views() -> list[View]:
    """What operators and administrators see in the admin."""
    return [
        View("admin", "/admin/", "carol"),
        View("admin-ledger", "/admin/billing/ledgerline/", "root"),
        View("admin-price", "/admin/billing/price/add/", "root"),
        View("admin-budgets", "/admin/billing/budget/", "root"),
        View("admin-reservations", "/admin/scheduling/reservation/", "carol"),
        View("admin-cap", "/admin/scheduling/runcap/add/", "carol"),
        View("admin-instances", "/admin/instances/instance/", "carol"),
        View("admin-jobs", "/admin/training/job/", "carol"),
        View("admin-instance", "/admin/instances/instance/3/change/", "carol"),
        View("admin-nodes", "/admin/nodes/node/", "carol"),
    ]


def _material_views() -> list[View]:
    """What jobs are made of: recipes and datasets."""
    return [
        View("recipes", "/recipes/"),
        View("recipes-none", "/recipes/?q=no-such-recipe"),
        View("recipe", "/recipes/1/"),
        View("recipe-old", "/recipes/1/?version=1"),
        View("recipe-built-in", "/recipes/builtin/qwen3-8b-qlora/"),
        View("recipe-share", "/recipes/1/", "", _share_asked),
        View("compare", "/jobs/compare/?left=2&right=recipe:1"),
        View("compare-all", "/jobs/compare/?left=recipe:1:1&right=recipe:1:3&all=1"),
        View("compare-none", "/jobs/compare/"),
        View("new-past", "/jobs/new/", "", _past_asked),
        View("new-recipe", "/jobs/new/?recipe=1"),
        View("new-recipe-dpo", "/jobs/new/?recipe=qwen3-8b-dpo"),
        View("new-draft", "/jobs/new/?recipe=qwen3-0.6b-lora", "", _left_and_back),
        View("new-recipe-save", "/jobs/new/?recipe=1", "", _recipe_save_asked),
        View("models", "/models/?q=qwen3"),
        View("models-none", "/models/?q=no-such-model"),
        View("datasets", "/datasets/"),
        View("datasets-none", "/datasets/", "nina"),
        View("dataset", "/datasets/1/"),
        View("dataset-errors", "/datasets/3/"),
        View("dataset-columns", "/datasets/6/"),
    ]


def showroom_views() -> list[View]:
    """What tools/showroom holds, in all its states."""
    return [
        View("login", "/login/", "-"),
        View("login-refused", "/login/", "-", _wrong_password),
        View("home", "/"),
        View("home-first", "/", "nina"),
        View("jobs", "/jobs/"),
        View("jobs-all", "/jobs/", "carol"),
        View("jobs-none", "/jobs/", "nina"),
        View("jobs-no-match", "/jobs/?q=no-such-job"),
        View("new", "/jobs/new/"),
        View("new-arguments", "/jobs/new/", "", _all_arguments),
        View("new-refused", "/jobs/new/", "nina", _filled_form),
        View("clone", "/jobs/new/?from=2"),
        View("new-change", "/jobs/new/?from=3&change=1"),
        View("new-weights", "/jobs/new/?from=2&weights=1:2700"),
        View("job-draft", "/jobs/1/"),
        View("job-succeeded", "/jobs/2/"),
        View("job-files", "/jobs/2/?tab=files"),
        View("job-settings", "/jobs/2/?tab=settings"),
        View("job-history", "/jobs/2/?tab=history"),
        View("job-failed", "/jobs/3/"),
        View("job-stopped", "/jobs/4/"),
        View("job-resume", "/jobs/4/", "", _resume_asked),
        View("job-failed-history", "/jobs/3/?tab=history"),
        View("job-lost", "/jobs/6/"),
        View("job-running", "/jobs/7/"),
        View("job-running-gpus", "/jobs/5/", "carol"),
        View("job-cancel", "/jobs/7/", "", _cancel_asked),
        View("job-offline", "/jobs/7/", "", _cut_off),
        View("job-queued", "/jobs/9/"),
        View("job-preparing", "/jobs/10/", "carol"),
        View("job-unreachable", "/jobs/11/", "carol"),
        View("queue", "/queue/"),
        View("queue-none", "/queue/", "nina"),
        View("queue-all", "/queue/", "carol"),
        View("queue-explain", "/queue/", "carol", _explained),
        View("queue-reserve", "/queue/", "carol", _reserve_refused),
        View("job-queue-menu", "/jobs/8/", "", _menu_opened),
        View("job-moving", "/jobs/15/", "carol"),
        View("job-move", "/jobs/7/", "", _move_asked),
        *_material_views(),
        View("nodes", "/nodes/", "carol"),
        View("node", "/nodes/gpu-a100-01/", "carol"),
        View("node-foreign", "/nodes/gpu-4090-02/", "carol"),
        View("node-drained", "/nodes/lab-workstation/", "carol"),
        View("node-fetch", "/nodes/gpu-a100-01/", "carol", partial(_node_asked, act="prefetches")),
        View("node-lost", "/nodes/h100-rack7-row3-training-cluster-east/", "carol"),
        View("usage", "/usage/"),
        View("usage-none", "/usage/", "nina"),
        View("usage-all", "/usage/all/", "carol"),
        View("account", "/account/"),
        *_admin_views(),
        View("not-found", "/no-such-page/"),
        View("forbidden", "/jobs/new/", "vera"),
    ]


def views_of(arguments: argparse.Namespace) -> list[View]:
    """Of somebody's own installation: what the given numbers name."""
    job, node, dataset = arguments.job, arguments.node, arguments.dataset
    found = [
        *(("login", "/login/"), ("home", "/"), ("jobs", "/jobs/"), ("new", "/jobs/new/")),
        ("queue", "/queue/"),
        *(("datasets", "/datasets/"), ("nodes", "/nodes/"), ("account", "/account/")),
        ("not-found", "/no-such-page/"),
    ]
    if job:
        tabs = [
            (f"job-{tab}", f"/jobs/{job}/?tab={tab}") for tab in ("files", "settings", "history")
        ]
        found += [("job", f"/jobs/{job}/"), ("clone", f"/jobs/new/?from={job}"), *tabs]
    if dataset:
        found.append(("dataset", f"/datasets/{dataset}/"))
    if node:
        found.append(("node", f"/nodes/{node}/"))
    return [View(name, path, "-" if name == "login" else "") for name, path in found]


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


@dataclass
class Photographer:
    """Takes the views of one look, in one browser profile for each person."""

    browser: Browser
    base: str
    shot: Shot
    user: str
    password: str
    complaints: list[str]

    def page_of(self, user: str) -> Page:
        """Signed in, unless user is "-"."""
        context = context_of(self.browser, self.base, self.shot)
        page = context.new_page()
        if user != "-":
            sign_in(page, self.base, user, self.password)
            cookie = {"name": "django_language", "value": self.shot.language, "url": self.base}
            context.add_cookies([cookie])  # type: ignore[list-item]
        return page

    def listen(self, page: Page, view: View) -> None:
        """What the page says of itself is a fault, but for what is on purpose: cut off, not found, refused."""
        said = f"{self.shot.folder} {view.name}"
        page.on("pageerror", lambda error: self.complaints.append(f"{said}: {error}"))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(f"{said}: {message.text}")
                if message.type == "error" and not EXPECTED.search(message.text)
                else None
            ),
        )

    def take(self, views: list[View], folder: Path) -> None:
        """All of them."""
        folder.mkdir(parents=True, exist_ok=True)
        for user in dict.fromkeys(view.user or self.user for view in views):
            opened = self.page_of(user).context
            for view in views:
                if (view.user or self.user) != user:
                    continue
                page = opened.new_page()
                self.listen(page, view)
                page.goto(f"{self.base}{view.path}")
                page.wait_for_timeout(SETTLE_MS)
                view.prepare(page)
                page.wait_for_timeout(SETTLE_MS)
                # A picture of the whole page has what sticks to the window where the window stands.
                page.evaluate("window.scrollTo(0, 0)")
                page.screenshot(path=folder / f"{view.name}.png", full_page=True)
                opened.set_offline(False)
                page.close()
            opened.close()


def photograph(
    base: str, password: str, views: list[View], arguments: argparse.Namespace
) -> list[str]:
    """All looks of the views; returns what the browser complained about."""
    wanted = set(arguments.only.split(",")) if arguments.only else set()
    views = [view for view in views if not wanted or view.name in wanted]
    looks = product(
        arguments.themes.split(","),
        arguments.languages.split(","),
        map(int, arguments.widths.split(",")),
    )
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for theme, language, width in looks:
            shot = Shot(theme, language, width)
            photographer = Photographer(browser, base, shot, arguments.user, password, complaints)
            photographer.take(views, Path(arguments.out) / shot.folder)
        browser.close()
    return complaints


def main() -> int:
    """Parse, shoot, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("base", nargs="?", help="address; without it, a platform made for this")
    parser.add_argument("--user", default="alice")
    parser.add_argument("--out", default="screenshots")
    parser.add_argument("--job", type=int)
    parser.add_argument("--dataset", type=int)
    parser.add_argument("--node")
    parser.add_argument("--only", default="", help="names of pictures, with commas")
    parser.add_argument("--themes", default="light,dark")
    parser.add_argument("--languages", default="en,zh-hans")
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)))
    arguments = parser.parse_args()
    if arguments.base:
        password = os.environ["LORAFORGE_PASSWORD"]
        complaints = photograph(arguments.base, password, views_of(arguments), arguments)
    else:
        with showroom() as (base, password):
            complaints = photograph(base, password, showroom_views(), arguments)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
