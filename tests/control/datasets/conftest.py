"""The web process, and clients that speak tus to it."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loraforge.accounts.models import ApiToken, User
from loraforge.asgi import application
from loraforge.datasets.models import Dataset, Upload
from tests.control.webserver import served, wait_until
from tests.factories.accounts import ApiTokenFactory, UserFactory

TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": "application/offset+octet-stream"}


class TusClient(httpx.Client):
    """Speaks tus as one user."""

    def __init__(self, *, url: str, user: User) -> None:
        text = f"{ApiToken.PREFIX}{user.username}-of-this-test"
        ApiTokenFactory.create(owner=user, text=text)
        headers = {"Authorization": f"Bearer {text}"}
        super().__init__(base_url=url, headers=headers, timeout=30, trust_env=False)

    def begin(self, size: int, *, filename: str = "rows.jsonl", **headers: str) -> httpx.Response:
        name = base64.b64encode(filename.encode()).decode()
        given = {
            **TUS,
            "Upload-Length": str(size),
            "Upload-Metadata": f"filename {name}",
            **headers,
        }
        return self.post("/api/v1/uploads/", headers=given)

    def begun(self, size: int, **given: str) -> str:
        answer = self.begin(size, **given)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    def send_bytes(self, address: str, offset: int, data: Any, **headers: str) -> httpx.Response:
        return self.patch(
            address, content=data, headers={**BODY, "Upload-Offset": str(offset), **headers}
        )

    def offset(self, address: str) -> int:
        return int(self.head(address, headers=TUS).headers["Upload-Offset"])


@pytest.fixture(autouse=True)
def upload_folder(settings: Any, tmp_path: Path) -> Path:
    settings.UPLOAD_FOLDER = tmp_path / "uploads"
    return tmp_path / "uploads"


@pytest.fixture
def web(transactional_db: None) -> Iterator[str]:
    with served(application) as url:
        yield url


@pytest.fixture
def owner(transactional_db: None) -> User:
    user: User = UserFactory.create(username="owner")
    return user


@pytest.fixture
def tus(web: str, owner: User) -> Iterator[TusClient]:
    with TusClient(url=web, user=owner) as client:
        yield client


def row_of(address: str) -> Upload:
    return Upload.objects.get(pk=address.rstrip("/").rpartition("/")[2])


def dataset_of(address: str) -> Dataset:
    """The dataset that an upload became, once it is checked."""
    wait_until(lambda: row_of(address).dataset_id and row_of(address).lock_token == "")
    dataset = row_of(address).dataset
    assert dataset is not None
    return dataset
