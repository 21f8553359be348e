"""The main job in a real browser: sign in, upload, create, watch it grow without a reload, download."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from loraforge.embedded.client import ApiClient
from tests.e2e.driver import PASSWORD, LiveStack, sft_body, wait_for
from tools.screenshots import CHROMIUM, FLAGS, sign_in

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SOON_MS = 15_000
TRAINED_MS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, stack: LiveStack) -> Iterator[Page]:
    """A fresh profile; a fault in the page's own code or a refused inline style fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en")
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    yield page
    context.close()
    assert not faults


def argument_set(page: Page, name: str, value: str) -> None:
    """Through "All arguments", as a person would."""
    page.fill("#argument-search", name)
    page.fill(f"#all-{name}", value)
    page.keyboard.press("Tab")


def form_fill(page: Page, demo_folder: Path) -> None:
    page.fill("#model", str(demo_folder / "model"))
    upload = page.locator('input[name="dataset-way"][value="upload"]')
    upload.evaluate("element => element.click()")
    page.set_input_files("[data-upload] input[type=file]", demo_folder / "data.jsonl")
    expect(page.locator(".lf-pill")).to_have_count(1, timeout=SOON_MS)
    page.select_option("#a-torch_dtype", "float32")
    for name, value in (("max_length", "128"), ("logging_steps", "1"), ("save_steps", "20")):
        page.fill(f"#a-{name}", value)
    page.fill("#a-per_device_train_batch_size", "2")
    page.fill("#a-gradient_accumulation_steps", "1")
    expect(page.locator("[data-effective]")).to_have_text("2")
    page.click("#all-arguments > summary")
    argument_set(page, "max_steps", "40")
    argument_set(page, "dataloader_num_workers", "0")


def reached(page: Page, job_id: int) -> object:
    """What this browser's session gets of a job: the API's status, and whether the websocket opens."""
    return page.evaluate(
        """async (id) => {
            const api = await fetch(`/api/v1/jobs/${id}/`);
            const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/jobs/${id}/`);
            const opened = await new Promise((told) => {
                socket.onopen = () => told(true);
                socket.onclose = () => told(false);
            });
            socket.close();
            return [api.status, opened];
        }""",
        job_id,
    )


def test_a_researchers_first_fine_tune(
    page: Page, stack: LiveStack, demo_folder: Path, bob: ApiClient, browser: Browser
) -> None:
    stack.user_add("dora")
    sign_in(page, stack.url, "dora", PASSWORD)
    page.click(".lf-side-new")
    form_fill(page, demo_folder)
    expect(page.locator("#preview")).to_contain_text("swift.cli.sft", timeout=SOON_MS)
    page.reload()
    expect(page.locator("#model")).to_have_value(str(demo_folder / "model"))
    expect(page.locator(".lf-pill")).to_have_count(1)
    page.click('[data-start="1"]')
    page.wait_for_url(re.compile(r"/jobs/\d+/$"), timeout=SOON_MS)
    address = page.url

    loads: list[str] = []
    page.on("framenavigated", lambda frame: loads.append(frame.url))
    expect(page.locator("#chart-loss canvas")).to_be_visible(timeout=TRAINED_MS)
    count = page.locator('[data-log="count"]')
    expect(count).not_to_have_text("0 lines")
    before = count.inner_text()
    expect(count).not_to_have_text(before, timeout=TRAINED_MS)
    expect(page.locator("#hardware .lf-meter").first).to_be_visible()
    expect(page.locator('.lf-chip[data-state="succeeded"]')).to_be_visible(timeout=TRAINED_MS)
    expect(page.locator('[data-live="step"]')).to_have_text("40 / 40")
    assert not loads, "nothing was loaded anew while it grew"

    page.click('[data-tab="files"]')
    with page.expect_download(timeout=SOON_MS) as download:
        page.click("text=Download LoRA weights")
    job_id = int(address.rstrip("/").rsplit("/", 1)[1])
    weights = next(
        (stack.job_folder(job_id) / "output").glob("checkpoint-40/adapter_model.safetensors")
    )
    assert download.value.suggested_filename == f"job-{job_id}-lora-weights.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.read(f"checkpoint-40/{weights.name}") == weights.read_bytes()
        assert "checkpoint-40/adapter_config.json" in archive.namelist()
        assert not [name for name in archive.namelist() if name.endswith((".pt", ".pth"))]

    stranger = browser.new_context()
    other = stranger.new_page()
    sign_in(other, stack.url, "bob", PASSWORD)
    answer = other.goto(address)
    assert answer is not None
    assert answer.status == 404
    assert reached(other, job_id) == [404, False]
    assert reached(page, job_id) == [200, True]
    stranger.close()


def test_a_broken_file_is_refused_with_its_lines(
    page: Page, stack: LiveStack, alice: ApiClient, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\nno json\n'
    )
    sign_in(page, stack.url, "alice", PASSWORD)
    page.goto(f"{stack.url}/datasets/")
    page.set_input_files("[data-upload] input[type=file]", broken)
    item = page.locator(".lf-upload-item")
    expect(item).to_contain_text("Line 2", timeout=SOON_MS)
    expect(item.locator(".lf-chip")).to_have_class(re.compile("is-red"))


def test_server_errors_appear_at_their_fields(
    page: Page, stack: LiveStack, alice: ApiClient
) -> None:
    sign_in(page, stack.url, "alice", PASSWORD)
    page.goto(f"{stack.url}/jobs/new/")
    page.fill("#a-lora_rank", "many")
    page.click('[data-start="1"]')
    expect(page.locator('[data-field="arguments.lora_rank"] .lf-error')).to_be_visible(
        timeout=SOON_MS
    )
    expect(page.locator('[data-field="model"] .lf-error')).to_be_visible()
    expect(page.locator("#a-lora_rank")).to_have_attribute("aria-invalid", "true")
    assert page.url.endswith("/jobs/new/")


def test_what_stands_under_all_arguments_counts_before_it_is_opened(
    page: Page, stack: LiveStack, alice: ApiClient, demo_folder: Path, dataset: dict[str, Any]
) -> None:
    source = alice.post("jobs/", sft_body(demo_folder, dataset["id"], start=False))

    sign_in(page, stack.url, "alice", PASSWORD)
    page.goto(f"{stack.url}/jobs/new/?from={source['id']}")
    expect(page.locator("[data-all-changed]")).to_be_visible()
    assert not page.locator(".lf-argument").count(), "asked for when it is opened"
    expect(page.locator("#preview")).to_contain_text("--max_steps 12", timeout=SOON_MS)

    page.focus("#model_type")
    expect(page.locator('#model-types option[value="qwen2"]')).to_be_attached(timeout=SOON_MS)
    expect(page.locator('#chat-templates option[value="chatml"]')).to_be_attached()

    page.click("#all-arguments > summary")
    page.fill("#argument-search", "num workers")  # while the list is still on its way
    expect(page.locator("#all-dataloader_num_workers")).to_have_value("0", timeout=SOON_MS)
    page.fill("#argument-search", "runs out")  # stands in the help alone
    expect(page.locator("#all-auto_find_batch_size")).to_be_visible()
    page.fill("#argument-search", "no such argumentation")
    expect(page.locator("[data-all-none]")).to_have_text(re.compile("No argument"))
    argument_set(page, "dataloader_num_workers", "many")
    expect(page.locator("[data-all-none]")).to_be_hidden()
    page.click("#all-arguments > summary")
    page.click('[data-start="0"]')
    said = '[data-field="arguments.dataloader_num_workers"] .lf-error'
    expect(page.locator(said)).to_be_attached(timeout=SOON_MS)
    expect(page.locator("#all-dataloader_num_workers")).to_have_value("many")
    expect(page.locator("#all-dataloader_num_workers")).to_be_focused()
    argument_set(page, "dataloader_num_workers", "1")
    page.click('[data-start="0"]')
    page.wait_for_url(re.compile(r"/jobs/\d+/$"), timeout=SOON_MS)
    made = alice.get(f"jobs/{page.url.rstrip('/').rsplit('/', 1)[1]}/")
    wanted = source["arguments"] | {"dataloader_num_workers": 1}
    assert {name: made["arguments"].get(name, "lora") for name in wanted} == wanted


def test_an_operator_sees_the_workers_and_node_agents_in_flower(
    page: Page, stack: LiveStack, browser: Browser
) -> None:
    sign_in(page, stack.url, "carol", PASSWORD)
    address = f"{stack.url}/flower/workers?json=1"

    def online() -> set[str]:
        rows = page.request.get(address).json()["data"]
        return {row["hostname"].partition("@")[0] for row in rows if row["status"]}

    wait_for("both kinds of worker", lambda: online() >= {"agent", "control"}, timeout_s=60)
    page.goto(f"{stack.url}/flower/")
    expect(page.locator("body")).to_contain_text("agent@local", timeout=SOON_MS)

    researcher = browser.new_context()
    other = researcher.new_page()
    sign_in(other, stack.url, "alice", PASSWORD)
    assert other.request.get(address).status == 403
    researcher.close()
