"""In a real browser: a form is left and found again, saved as a recipe, and a new one is filled from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Page, Route, expect, sync_playwright

from loraforge.accounts.models import User
from loraforge.asgi import application
from tests.control.webserver import served
from tools.screenshots import CHROMIUM, FLAGS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

STATIC = Path(__file__).parents[3] / "static"
SOON_MS = 30_000


def static_file(route: Route) -> None:
    """The test's web process has no collected files; these are the same ones."""
    route.fulfill(path=STATIC / route.request.url.split("/static/", 1)[1].partition("?")[0])


@pytest.fixture
def page(alice: User) -> Iterator[Page]:
    """A researcher's browser; a fault of a page's scripts fails the test."""
    client = Client()
    client.force_login(alice)
    faults: list[str] = []
    with served(application) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(base_url=url, locale="en")
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        context.set_default_timeout(SOON_MS)
        context.route("**/static/**", static_file)
        expect.set_options(timeout=SOON_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page
        browser.close()
    assert not faults


def test_a_form_left_saved_as_a_recipe_and_filled_from_it(page: Page) -> None:
    page.goto("/jobs/new/")
    page.fill("#model", "https://huggingface.co/Qwen/Qwen3-8B/tree/v1.0")  # as it is pasted
    expect(page.locator("#model")).to_have_value("Qwen/Qwen3-8B")
    page.fill("#a-lora_rank", "64")
    page.reload()  # at once: before anything was sent
    expect(page.locator("#a-lora_rank")).to_have_value("64")
    expect(page.locator("[data-draft-note]")).to_contain_text("restored")

    # a second tab has kept the form since: nothing is overwritten before somebody has chosen
    expect(page.locator("[data-draft-state]")).to_have_text("Draft saved")
    other = page.context.new_page()
    other.goto("/jobs/new/")
    other.fill("#a-lora_alpha", "7")
    expect(other.locator("[data-draft-state]")).to_have_text("Draft saved")
    page.fill("#a-max_length", "512")
    expect(page.locator("[data-draft-clash]")).to_be_visible()
    page.click("[data-draft-mine]")
    expect(page.locator("[data-draft-state]")).to_have_text("Draft saved")
    expect(page.locator("[data-draft-clash]")).to_be_hidden()

    page.click("[data-recipe-save]")
    page.fill("#recipe-name", "my recipe")
    page.click("#dialog [data-dialog-ok]")
    expect(page.locator(".lf-notice")).to_contain_text("my recipe")
    [recipe] = page.request.get("/api/v1/recipes/").json()["results"]
    kept = page.request.get(f"/api/v1/recipes/{recipe['id']}/").json()["draft"]
    assert kept["arguments"] == {"model_revision": "v1.0", "lora_rank": 64, "max_length": 512}
    assert (kept["model"], kept["model_hub"]) == ("Qwen/Qwen3-8B", "huggingface")

    page.goto(f"/recipes/{recipe['id']}/")
    page.click("text=New job from this recipe")
    expect(page.locator("#model")).to_have_value("Qwen/Qwen3-8B")
    expect(page.locator("#a-lora_rank")).to_have_value("64")
    expect(page.locator("[data-draft-note]")).to_be_hidden()
    page.goto("/jobs/new/")
    page.click("[data-draft-discard]")
    expect(page.locator("#model")).to_have_value("")
    assert page.request.get("/api/v1/drafts/?source=new").json()["version"] == 0
