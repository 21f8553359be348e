"""Models and datasets of model hubs on the node: the hubs' own clients against a stand-in of their HTTP."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from nodeagent.contract.commands import Fetch, SecretInput, Stage
from nodeagent.contract.phases import Phase
from nodeagent.supervisor import hub as hub_module
from nodeagent.supervisor.admission import Refusal
from nodeagent.supervisor.caches import Caches
from nodeagent.supervisor.hub import Had, HubCache
from nodeagent.supervisor.staging import Staging
from nodeagent.transfer.inputs import Fetcher, SecretMissing, TransferCancelled
from tests.agent.engine import IMAGE, engine_client
from tests.agent.plane import ROOT, AgentProcess, Plane, start_command, wait_for
from tests.agent.test_runtimes import Bench
from tests.hubserver import COMMIT, Hub, Repo

SWIFT_PYTHON = ROOT / ".venv-swift" / "bin" / "python"
TOKEN = "hf_sesame-open"
MODEL = {"config.json": b"{}", "model.safetensors": b"w" * 300_000, "weights.gguf": b"no"}
ROWS = {"data.jsonl": b'{"messages": []}\n', "dataset_infos.json": b"{}"}

pytestmark = pytest.mark.swift


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(
        {
            ("models", "org/tiny"): Repo({**MODEL, "sub/config.json": b"[]"}),
            ("models", "org/closed"): Repo(MODEL, token=TOKEN),
            ("datasets", "org/rows"): Repo(ROWS),
            ("datasets", "org/closed"): Repo(ROWS, token=TOKEN),
        }
    )
    yield hub
    hub.close()


class Node:
    """A cache on a runtime, with the secrets that its control plane has."""

    def __init__(self, bench: Bench, *, image: str = "") -> None:
        self.bench = bench
        self.image = image
        self.secrets = {"/alice": TOKEN.encode(), "/bob": b"hf_wrong"}
        self.said: list[tuple[int, int]] = []
        self.cache = HubCache(
            folder=bench.settings.cache, runtime=bench.runtime, token_get=self.secret
        )

    def secret(self, url: str) -> bytes:
        if url not in self.secrets:
            raise SecretMissing
        return self.secrets[url]

    def say(self, *, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None:
        self.said.append((done_bytes, total_bytes))

    def have(self, repo: str, *, cancelled: Callable[[], bool] = lambda: False, **more: Any) -> Had:
        given = {"kind": "model", "hub": "huggingface", "target": "/lf/model", **more}
        return self.cache.have(
            Fetch(repo=repo, **given), image=self.image, say=self.say, cancelled=cancelled
        )

    def refused(self, repo: str, **more: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            self.have(repo, **more)
        return caught.value


def bench_of(kind: str, folder: Path, hub: Hub, url: str) -> Bench:
    bench = Bench(kind, folder)
    environ = {name: hub.environ[name].replace(hub.url, url) for name in hub.environ}
    containers = msgspec.structs.replace(bench.settings.containers, hub_env=environ)
    bench.settings = msgspec.structs.replace(
        bench.settings, swift_python=SWIFT_PYTHON, containers=containers
    )
    bench.runtime = bench.new_runtime()
    return bench


@pytest.fixture
def node(tmp_path: Path, hub: Hub) -> Iterator[Node]:
    bench = bench_of("process", tmp_path, hub, hub.url)
    yield Node(bench)
    bench.close()


def test_a_public_model_of_hugging_face(node: Node, hub: Hub) -> None:
    had = node.have("org/tiny")
    assert had.revision == COMMIT
    assert (had.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert not (had.path / "weights.gguf").exists(), "another format of the same weights"
    assert "/public/huggingface/model/org@tiny/" in str(had.path)
    assert not (had.path.parent / "run").exists()
    assert node.have("org/tiny") == had
    assert hub.fetched("model.safetensors") == 1, "it is there already"
    assert models_told(node) == [f"huggingface:org/tiny@{COMMIT}"]


def models_told(node: Node) -> list[str] | None:
    return Caches(folder=node.bench.settings.cache).models_told()


def test_a_model_is_fetched_ahead(node: Node, tmp_path: Path) -> None:
    fetcher = Fetcher(server="http://127.0.0.1:1", token="t", cache=tmp_path / "inputs")
    staging = Staging(
        fetcher=fetcher, hub=node.cache, runtime=node.bench.runtime, model_roots=(tmp_path,)
    )
    for number, repo in enumerate(("org/tiny", "org/closed"), start=1):
        fetch = Fetch(target="/lf/model", kind="model", hub="huggingface", repo=repo)
        staging.take(Stage(id=f"stage-p{number}", fetches=[fetch]))
    wait_for(lambda: all(one.digest or one.error for one in staging.told()))
    done, closed = staging.told()
    assert (done.error, done.done_bytes) == ("", done.total_bytes)
    assert (closed.error, closed.digest) == ("user:hub_denied", "")
    assert "org/closed" in closed.detail
    assert models_told(node) == [f"huggingface:org/tiny@{COMMIT}"]


def test_only_the_subfolder_that_is_wanted(node: Node, hub: Hub) -> None:
    had = node.have("org/tiny", subfolder="sub", revision="main")
    assert (had.path / "config.json").read_bytes() == b"[]"
    assert models_told(node) == [f"huggingface:org/tiny:sub@{COMMIT}"]
    assert hub.fetched("model.safetensors") == 0


def test_model_and_dataset_of_modelscope(node: Node, hub: Hub) -> None:
    had = node.have("org/tiny", hub="modelscope")
    assert had.revision.startswith("files-")
    assert (had.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    rows = node.have("org/rows", hub="modelscope", kind="dataset", target="/lf/data/0/rows")
    assert (rows.path / "data.jsonl").read_bytes() == ROWS["data.jsonl"]
    assert not (rows.path / "dataset_infos.json").exists(), "SWIFT would rename it, and may not"
    hub.repos["models", "org/tiny"].files["config.json"] = b'{"new": 1}'
    newer = node.have("org/tiny", hub="modelscope")
    assert newer.path != had.path, "what a job reads is never written to again"
    assert (had.path / "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("name", "more", "file"),
    [
        ("huggingface", {}, "config.json"),
        ("modelscope", {}, "config.json"),
        ("modelscope", {"kind": "dataset", "target": "/lf/data/0/closed"}, "data.jsonl"),
    ],
)
def test_what_a_token_opened_is_there_for_its_owner_alone(
    node: Node, name: str, more: dict[str, Any], file: str
) -> None:
    more = {"hub": name, **more}
    alone = node.refused("org/closed", **more)
    assert alone.reason == "user:hub_denied"
    assert "account page" in alone.detail
    had = node.have("org/closed", **more, token_url="/alice", user="7")
    assert f"/user-7/{name}/" in str(had.path)
    assert (had.path / file).exists()
    # now that it lies here, it is still nobody else's
    assert node.refused("org/closed", **more).reason == "user:hub_denied"
    wrong = node.refused("org/closed", **more, token_url="/bob", user="8")
    assert wrong.reason == "user:hub_denied"
    assert "hf_wrong" not in wrong.detail
    none = node.refused("org/closed", **more, token_url="/carol", user="9")
    assert none.reason == "user:hub_denied"
    # nor the owner's any more once the hub lets nobody in
    node.secrets.clear()
    assert node.refused("org/closed", **more, token_url="/alice", user="7").reason == alone.reason
    everything = [path for path in node.bench.settings.cache.rglob("*") if path.is_file()]
    assert not [path for path in everything if TOKEN.encode() in path.read_bytes()]


def test_what_everybody_may_have_needs_no_token(node: Node) -> None:
    had = node.have("org/tiny", token_url="/alice", user="7")
    assert "/public/" in str(had.path)


def test_two_jobs_fetch_it_once_and_see_how_far_it_is(node: Node, hub: Hub) -> None:
    hub.pause_s = 1.5
    found: list[Had] = []
    threads = [
        threading.Thread(target=lambda: found.append(node.have("org/tiny"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2
    assert found[0] == found[1]
    assert hub.fetched("model.safetensors") == 1
    assert node.said
    assert {total for _done, total in node.said} == {300_004}


def test_a_cancelled_fetch_leaves_nothing_running(node: Node, hub: Hub) -> None:
    hub.pause_s = 30.0
    with pytest.raises(TransferCancelled):
        node.have("org/tiny", cancelled=lambda: bool(node.said))
    assert node.bench.runtime._errands == {}  # type: ignore[attr-defined]


def test_what_an_earlier_life_left_running_is_ended(node: Node, hub: Hub) -> None:
    hub.pause_s = 30.0
    with pytest.raises(KeyboardInterrupt):
        node.have("org/tiny", cancelled=lambda: interrupt(node))
    runtime: Any = node.bench.runtime
    (left,) = runtime.left
    assert left.poll() is None
    hub.pause_s = 0.0
    later = Node(node.bench)
    assert left.wait(10) == -9
    assert later.have("org/tiny").revision == COMMIT


def interrupt(node: Node) -> bool:
    """As if the agent were killed once the fetch has begun: nobody ends what it started."""
    if node.said:
        runtime: Any = node.bench.runtime
        runtime.left = list(runtime._errands.values())
        runtime._errands.clear()
        raise KeyboardInterrupt
    return False


def test_a_disk_is_never_filled(node: Node, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "FREE_PART", 1.0)
    hub.pause_s = 30.0
    assert node.refused("org/tiny").reason == "node:disk_full"


def test_a_hub_that_is_away(node: Node, hub: Hub) -> None:
    hub.close()
    assert node.refused("org/tiny").reason == "node:hub_unreachable"


def test_a_revision_that_there_is_not(node: Node) -> None:
    assert node.refused("org/tiny", revision="v9").reason == "user:hub_revision"


@pytest.mark.parametrize(
    "bad",
    [
        {"repo": "../../etc"},
        {"repo": "a/b/c"},
        {"repo": "a/-b"},
        {"repo": "a/b", "revision": "--token-file"},
        {"repo": "a/b", "revision": "../x"},
        {"repo": "a/b", "subfolder": "../x"},
        {"repo": "a/b", "target": "/etc"},
        {"repo": "a/b", "target": "/lf/data/../../etc"},
    ],
)
def test_what_leads_out_is_refused(node: Node, bad: dict[str, str]) -> None:
    assert node.refused(bad.pop("repo"), **bad).reason == "hub:bad_spec"


@pytest.mark.docker
def test_in_a_container_of_its_own(tmp_path: Path, hub: Hub) -> None:
    engine = engine_client()
    # an engine that was restarted does not tell its gateway, so by the interface itself
    options = engine.inspect_network("bridge")["Options"]
    addresses = psutil.net_if_addrs()[options["com.docker.network.bridge.name"]]
    bridge = next(one.address for one in addresses if one.family == socket.AF_INET)
    bench = bench_of("docker", tmp_path, hub, f"http://{bridge}:{hub.port}")
    node = Node(bench, image=IMAGE)
    hub.pause_s = 1.0
    seen: list[dict[str, Any]] = []

    def look(*, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None:
        seen.extend(
            engine.inspect_container(one["Id"])
            for one in engine.containers(filters={"label": "lf.errand"})
            if bench.cluster in one["Labels"]["lf.errand"]
        )

    node.say = look  # type: ignore[method-assign]
    try:
        had = node.have("org/closed", token_url="/alice", user="7")
    finally:
        bench.close()
    assert (had.path / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    assert seen, "it was never looked at"
    assert TOKEN not in str(seen)
    host = seen[0]["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert seen[0]["Config"]["User"] == "10001:10001"
    filters = {"label": f"lf.errand=n1@{bench.cluster}"}
    assert engine.containers(all=True, filters=filters) == []


SHOWS = """
import hashlib, json, os, sys
if os.environ.get("CB_SECRETS"): os.environ.update(json.load(open(os.environ["CB_SECRETS"])))
key = hashlib.sha256(os.environ.get("WANDB_API_KEY", "").encode()).hexdigest()
print(sorted(os.listdir(sys.argv[1])), sorted(os.listdir(sys.argv[2])), key)
"""


@pytest.mark.redis
def test_a_job_sees_what_was_fetched_and_its_secrets_are_nowhere_else(
    plane: Plane, tmp_path: Path, models: Path, hub: Hub
) -> None:
    key = "wandb-" + "c4n4ry" * 6
    plane.inputs = {"/token": TOKEN.encode(), "/key": key.encode()}
    agent = AgentProcess(
        plane,
        tmp_path / "node",
        models=models,
        LORAFORGE_SWIFT_PYTHON=str(SWIFT_PYTHON),
        **hub.environ,
    ).start()
    try:
        closed = Fetch(
            target="/lf/model", kind="model", hub="huggingface", repo="org/closed", token_url="/token",
            user="7",
        )  # fmt: skip
        rows = Fetch(target="/lf/data/0/rows", kind="dataset", hub="modelscope", repo="org/rows")
        plane.send(
            start_command(
                2,
                ["-c", SHOWS, "/lf/model", "/lf/data/0/rows"],
                fetches=[closed, rows],
                secrets=[SecretInput(name="WANDB_API_KEY", url="/key")],
                network=True,
            )
        )
        ended = plane.wait_whole(2, timeout_s=60)
        assert ended.exit_code == 0, plane.bytes_of(2, 1, "log")
        steps = {step.name: step for step in ended.steps}
        assert list(steps) == ["image", "model", "data", "container"]
        assert steps["model"].revision == COMMIT
        assert steps["model"].total_bytes == 300_002
        shown = plane.bytes_of(2, 1, "log").decode()
        assert "model.safetensors" in shown
        assert "data.jsonl" in shown
        plane.send(start_command(3, ["-c", "pass"], secrets=[SecretInput(name="A", url="/gone")]))
        refused = plane.wait_phase(Phase.REFUSED, 3)
        assert refused.reason == "user:secret_missing"
        wait_for(lambda: not list((tmp_path / "node").rglob("secrets.json")))
    finally:
        agent.end()
    said = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    said += repr(plane.reports).encode() + str(plane.joins).encode()
    for secret in (key, TOKEN):
        assert secret.encode() not in said
