"""Models: ids, pasted addresses, folders that lie where they may, and the list to pick from."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from loraforge.accounts.models import User
from loraforge.core.errors import Invalid
from loraforge.modelhub import folders
from loraforge.modelhub.locations import path_normalise, root_of, url_read
from loraforge.modelhub.selectors import model_list
from loraforge.modelhub.services import model_describe
from loraforge.nodes.models import Node

ClientOf = Callable[[User | None], APIClient]
CONFIG = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}


@pytest.fixture
def root(settings: Any, tmp_path: Path) -> Path:
    """The one model root; nothing is remembered of other tests."""
    folders._remembered.clear()
    settings.MODEL_ROOTS = [str(tmp_path / "models")]
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def model_in(folder: Path, config: Any = CONFIG) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "https://modelscope.cn/models/Qwen/Qwen2.5-7B-Instruct",
            ("Qwen/Qwen2.5-7B-Instruct", "modelscope"),
        ),
        (
            "https://www.modelscope.cn/models/Qwen/Qwen2.5-7B/summary",
            ("Qwen/Qwen2.5-7B", "modelscope"),
        ),
        ("modelscope.cn/models/Qwen/Qwen2.5-7B?x=1#y", ("Qwen/Qwen2.5-7B", "modelscope")),
        ("https://huggingface.co/Qwen/Qwen2.5-7B/tree/main", ("Qwen/Qwen2.5-7B", "huggingface")),
        ("https://hf-mirror.com/Qwen/Qwen2.5-7B", ("Qwen/Qwen2.5-7B", "huggingface")),
        ("https://huggingface.co.evil.example/Qwen/Qwen2.5-7B", None),
        ("https://evil.example/huggingface.co/Qwen/x", None),
        ("ftp://huggingface.co/Qwen/x", None),
        ("https://huggingface.co/Qwen", None),
        ("https://huggingface.co/../../x", None),
        ("Qwen/Qwen2.5-7B", None),
        ("https://[", None),
    ],
)
def test_addresses_of_hub_pages(text: str, found: tuple[str, str] | None) -> None:
    pasted = url_read(text)
    assert ((pasted.model, pasted.hub) if pasted else None) == found


@pytest.mark.parametrize(
    ("rest", "revision"),
    [
        ("huggingface.co/Qwen/Qwen3-8B/tree/v1.0", "v1.0"),
        ("https://hf-mirror.com/Qwen/Qwen3-8B/blob/refs%2Fpr%2F3/config.json", "refs/pr/3"),
        ("https://www.modelscope.cn/models/Qwen/Qwen3-8B/files?version=abc123", "abc123"),
        ("https://modelscope.cn/models/Qwen/Qwen3-8B/summary", ""),
        ("huggingface.co/Qwen/Qwen3-8B/tree/main", ""),
        ("huggingface.co/Qwen/Qwen3-8B/tree/a..b", ""),
        ("huggingface.co/Qwen/Qwen3-8B/tree/--x", ""),
    ],
)
def test_the_revision_of_a_pasted_address(db: None, rest: str, revision: str) -> None:
    described = model_describe(model=rest)
    assert (described.model, described.revision) == ("Qwen/Qwen3-8B", revision)
    assert bool(described.warnings) == bool(revision), "what is not taken over is said"


def test_a_known_id_brings_type_and_template(db: None) -> None:
    described = model_describe(model=" Qwen/Qwen2.5-7B-Instruct ")
    assert (described.model, described.kind, described.hub) == (
        "Qwen/Qwen2.5-7B-Instruct",
        "hub",
        "modelscope",
    )
    assert (described.model_type, described.template) == ("qwen2", "qwen2_5")
    assert (described.is_certain, described.warnings) == (True, ())


def test_a_pasted_address_decides_the_hub(db: None) -> None:
    described = model_describe(
        model="https://huggingface.co/Qwen/Qwen2.5-7B-Instruct", hub="modelscope"
    )
    assert (described.model, described.hub) == ("Qwen/Qwen2.5-7B-Instruct", "huggingface")


def test_an_unknown_id_is_taken_with_a_warning(db: None) -> None:
    described = model_describe(model="me/my-own-model")
    assert (described.model_type, described.template) == (None, None)
    assert len(described.warnings) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("No-Such-Model-7B", "modelhub:bad_id"),
        ("", "modelhub:bad_id"),
        ("a/b/c", "modelhub:bad_id"),
        ("--model x/y", "modelhub:bad_id"),
        ("a/..", "modelhub:bad_id"),
        ("./model", "modelhub:not_absolute"),
        ("../model", "modelhub:not_absolute"),
        ("~/model", "modelhub:not_absolute"),
        ("C:\\models\\x", "modelhub:not_absolute"),
        ("/etc", "modelhub:outside_roots"),
        ("/", "modelhub:outside_roots"),
        ("/etc\n", "modelhub:outside_roots"),
    ],
)
def test_what_is_no_model(db: None, root: Path, text: str, error: str) -> None:
    with pytest.raises(Invalid) as refused:
        model_describe(model=text)
    assert refused.value.error_id == error
    assert refused.value.fields["model"]
    if error == "modelhub:outside_roots":
        assert str(root) in refused.value.message


def test_a_bare_name_that_the_list_knows_is_completed(db: None) -> None:
    described = model_describe(model="qwen2.5-7b-instruct")
    assert described.model == "Qwen/Qwen2.5-7B-Instruct"
    assert (described.model_type, described.template) == ("qwen2", "qwen2_5")


def test_climbing_out_of_a_root_is_seen_by_the_letters(db: None, root: Path) -> None:
    model_in(root.parent / "elsewhere")
    for text in (
        f"{root}/../elsewhere",
        f"{root}/x/../../elsewhere",
        f"{root}-other/x",
        f"{root}/./../elsewhere/",
    ):
        with pytest.raises(Invalid) as refused:
            model_describe(model=text)
        assert refused.value.error_id == "modelhub:outside_roots"


def test_a_folder_is_known_by_its_config(db: None, root: Path) -> None:
    folder = model_in(root / "my-tuned")
    described = model_describe(model=f"{root}//x/.././my-tuned/")
    assert (described.model, described.kind, described.hub) == (str(folder), "path", "")
    assert "qwen2" in described.candidate_types
    assert described.model_type in described.candidate_types


@pytest.mark.parametrize("content", ["", "[]", "{broken", '{"architectures": 7}', "[" * 100_000])
def test_a_broken_config_is_no_reason_to_fail(db: None, root: Path, content: str) -> None:
    folder = model_in(root / "odd")
    (folder / "config.json").write_text(content)
    assert model_describe(model=str(folder)).model_type is None


def test_a_config_is_read_only_inside_the_root_and_only_a_small_file(db: None, root: Path) -> None:
    outside = model_in(root.parent / "outside")
    linked = root / "linked"
    linked.mkdir()
    (linked / "config.json").symlink_to(outside / "config.json")
    assert folders.config_read(str(linked), root=str(root)) is None
    blob = root / "blobs"
    blob.mkdir()
    (blob / "abc").write_text(json.dumps(CONFIG))
    inside = root / "snapshot"
    inside.mkdir()
    (inside / "config.json").symlink_to(blob / "abc")  # as in the hubs' caches
    assert folders.config_read(str(inside), root=str(root)) == CONFIG
    pipe = root / "pipe"
    pipe.mkdir()
    os.mkfifo(pipe / "config.json")
    assert folders.config_read(str(pipe), root=str(root)) is None
    large = model_in(root / "large", {"x": "y" * folders.CONFIG_MAX_BYTES})
    assert folders.config_read(str(large), root=str(root)) is None


def test_a_folder_of_a_node_elsewhere_is_believed(db: None, root: Path) -> None:
    Node.objects.create(
        name="n1", hostname="elsewhere", joined_at=timezone.now(), model_roots=["/data/models"]
    )
    described = model_describe(model="/data/models/Qwen2.5-7B-Instruct")
    assert (described.model_type, described.template) == ("qwen2", "qwen2_5")
    assert len(described.warnings) == 1
    with pytest.raises(Invalid, match="/data/models"):
        model_describe(model="/data/other")


def test_on_one_machine_a_folder_that_is_missing_is_an_error(db: None, root: Path) -> None:
    Node.objects.create(
        name="n1", hostname=socket.gethostname(), joined_at=timezone.now(), model_roots=[str(root)]
    )
    with pytest.raises(Invalid) as refused:
        model_describe(model=f"{root}/typo")
    assert refused.value.error_id == "modelhub:no_such_folder"


@given(st.text(alphabet="/.ab\x00", max_size=20))
def test_a_normalised_path_never_leaves_its_root(text: str) -> None:
    path = path_normalise(f"/root/{text}")
    if path is None:
        assert "\x00" in text
        return
    parts = path.split("/")
    assert ".." not in parts
    assert "." not in parts
    assert (root_of(path, ["/root"]) is not None) == (path == "/root" or path.startswith("/root/"))


def test_the_deepest_root_is_meant() -> None:
    assert root_of("/a/b/c", ["/a", "/a/b", "/a/bc", "relative"]) == "/a/b"


def test_folders_of_this_machine_come_first(db: None, root: Path) -> None:
    own = model_in(root / "org" / "qwen-own")
    model_in(root / ".hidden" / "qwen-x")
    found = model_list(search="qwen")
    assert found[0].model == str(own)
    assert (found[0].kind, found[0].hub) == ("path", "")
    assert found[1].kind == "hub"
    assert len(found) == len(found[0 : len(found)])
    assert [choice.model for choice in found[0:3]] == [found[number].model for number in range(3)]
    assert [each.model for each in found[2:5]] == [each.model for each in found[0:5]][2:]


def test_the_api(client_of: ClientOf, alice: User, root: Path) -> None:
    client = client_of(alice)
    page = client.get("/api/v1/swift/models/?search=qwen2.5-7b-instruct&page_size=3").json()
    assert len(page["results"]) == 3
    assert page["results"][0]["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert client.get("/api/v1/swift/models/?page=2").status_code == 200
    assert client.get("/api/v1/swift/models/?search=no-such-model").json()["count"] == 0
    described = client.get(
        "/api/v1/swift/models/describe/", {"model": "Qwen/Qwen2.5-7B-Instruct"}
    ).json()
    assert described["template"] == "qwen2_5"
    refused = client.get("/api/v1/swift/models/describe/", {"model": "/etc"})
    assert (refused.status_code, refused.json()["error"]["id"]) == (400, "modelhub:outside_roots")
    assert client_of(None).get("/api/v1/swift/models/").status_code == 401
