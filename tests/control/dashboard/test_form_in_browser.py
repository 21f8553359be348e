"""The new-job page in a real browser: another module, fields without effect, defaults, a pasted command."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Page, Route, expect, sync_playwright

from loraforge.accounts.models import User
from loraforge.asgi import application
from loraforge.instances.models import Attempt
from loraforge.instances.states import State
from tests.control.training.test_resuming import leave
from tests.control.webserver import served
from tests.factories.training import JobFactory, OnlineNodeFactory, ReadyDatasetFactory
from tools.screenshots import CHROMIUM, FLAGS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

STATIC = Path(__file__).parents[3] / "static"
SOON_MS = 30_000
COMMAND = """NPROC_PER_NODE=2 MAX_PIXELS=1003520 swift rlhf \\
  --rlhf_type kto --model Qwen/Qwen2.5-7B-Instruct --dataset faq.jsonl --beta 0.2 \\
  --lora_rank 16 --desirable_weight 1.5 --output_dir out --weight_decay 0.05"""


def static_file(route: Route) -> None:
    """The test's web process has no collected files; these are the same ones."""
    route.fulfill(path=STATIC / route.request.url.split("/static/", 1)[1].partition("?")[0])


def stopped_job(owner: User) -> None:
    """It has left a checkpoint."""
    node = OnlineNodeFactory.create(gpus=1)
    job = JobFactory.create(
        owner=owner, state=State.STOPPED, instance__attempt=1, instance__node=node
    )
    leave(Attempt.objects.create(instance=job.instance, number=1, node=node), 20)


@pytest.fixture
def page(alice: User) -> Iterator[Page]:
    """The page of a researcher with one dataset and one stopped job; a fault of its scripts fails the test."""
    ReadyDatasetFactory.create(owner=alice, name="faq.jsonl")
    stopped_job(alice)
    client = Client()
    client.force_login(alice)
    session = client.cookies["sessionid"].value
    faults: list[str] = []
    with served(application) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en")
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        context.set_default_timeout(SOON_MS)
        context.route("**/static/**", static_file)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{url}/jobs/new/")
        yield page
        browser.close()
    assert not faults


def seen(page: Page, *names: str) -> list[bool]:
    return [page.locator(f"#a-{name}").is_visible() for name in names]


def inference_from_a_checkpoint(page: Page) -> None:
    page.locator('input[name="module"][value="infer"] + span').click()
    expect(page.locator("#a-infer_backend")).to_be_visible()
    assert seen(page, "learning_rate", "rlhf_type") == [False, False]
    expect(page.locator("#preview")).to_contain_text("swift.cli.infer")
    page.focus("#source-job")
    expect(page.locator("#source-job option")).to_have_count(2)
    page.select_option("#source-job", index=1)
    expect(page.locator("#source-checkpoint")).to_have_text("Step 20")
    expect(page.locator("#preview")).to_contain_text("--adapters")


def test_a_form_for_each_module(page: Page) -> None:
    expect.set_options(timeout=SOON_MS)
    page.locator('input[name="module"][value="rlhf"] + span').click()
    expect(page.locator("#a-rlhf_type")).to_be_visible()
    page.select_option("#a-rlhf_type", "dpo")
    assert seen(page, "rpo_alpha", "desirable_weight", "kl_coef") == [True, False, False]
    assert not page.locator("#m-ref_model").is_visible(), "LoRA needs none"
    page.locator('input[name="method"][value="full"] + span').click()
    assert page.locator("#m-ref_model").is_visible()
    assert seen(page, "lora_rank") == [False]
    page.locator('input[name="method"][value="lora"] + span').click()

    # what was typed into a field that has no effect any more is named and not sent
    page.fill("#a-rpo_alpha", "0.5")
    expect(page.locator("#preview")).not_to_contain_text("rpo_alpha")  # no model yet
    page.select_option("#a-rlhf_type", "orpo")
    expect(page.locator('[data-sum="unsent"]')).to_have_text("--rpo_alpha")
    page.select_option("#a-rlhf_type", "dpo")
    page.fill("#model", "Qwen/Qwen2.5-7B-Instruct")
    expect(page.locator("#preview")).to_contain_text("--rpo_alpha 0.5")
    expect(page.locator("[data-forecast=memory_text]")).to_have_text("unknown")
    page.fill("#a-max_length", "2048")
    expect(page.locator("[data-forecast=memory_text]")).to_contain_text("about")
    page.fill("#a-max_length", "")

    # a section opens, a value is marked, and all go back
    page.click("#all-arguments > summary")
    page.locator("[data-all] details > summary", has_text="Optimizer").click()
    page.fill("#all-weight_decay", "0.05")
    page.keyboard.press("Tab")
    expect(page.locator('[data-reset="rpo_alpha"]')).to_be_visible()
    expect(page.locator('[data-sum="changed"]')).to_have_text("3")
    page.click("[data-reset-all]")
    expect(page.locator('[data-sum="changed"]')).to_have_text("0")
    expect(page.locator("#all-weight_decay")).to_have_value("")

    page.click("[data-import]")
    page.fill("#import-text", COMMAND)
    page.click("[data-dialog-ok]")
    expect(page.locator("[data-left-out]")).to_contain_text("output_dir")
    expect(page.locator("#a-rlhf_type")).to_have_value("kto")
    expect(page.locator("#a-desirable_weight")).to_have_value("1.5")
    expect(page.locator("#a-lora_rank")).to_have_value("16")
    expect(page.locator("#all-weight_decay")).to_have_value("0.05")
    expect(page.locator(".lf-pill")).to_have_text(re.compile("faq.jsonl"))
    expect(page.locator("[data-environment-changed]")).to_be_visible()
    expect(page.locator("#preview")).to_contain_text("MAX_PIXELS=1003520")
    with page.expect_download() as saved:
        page.click('[data-export="yaml"]')
    assert "beta: 0.2" in saved.value.path().read_text()

    inference_from_a_checkpoint(page)
