"""A small client of the REST API, as an integrator would write one; the demo uses nothing else."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx

CHUNK_BYTES = 8 * 1024**2
# The access token lives 10 min; renewed well before.
RENEW_S = 480


class ApiError(Exception):
    """An answer that is no success; carries the error's id and fields."""

    def __init__(self, response: httpx.Response) -> None:
        error: dict[str, Any] = {}
        if "json" in response.headers.get("content-type", ""):
            error = response.json().get("error", {})
        self.status = response.status_code
        self.error_id = str(error.get("id", ""))
        self.fields: dict[str, list[str]] = error.get("fields", {})
        details = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in self.fields.items())
        super().__init__(
            f"{self.status} {self.error_id} {error.get('message', response.text[:300])} {details}".strip()
        )


class ApiClient:
    """Signs in with a user's password and keeps the token fresh."""

    def __init__(
        self, *, base_url: str, username: str, password: str, timeout_s: float = 30
    ) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout_s)
        self._credentials = {"username": username, "password": password}
        self._token = ""
        self._token_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._http.close()

    def _headers(self) -> dict[str, str]:
        if not self._token or time.monotonic() - self._token_at > RENEW_S:
            answer = self._http.post("/api/v1/auth/token/", json=self._credentials)
            if answer.is_error:
                raise ApiError(answer)
            self._token, self._token_at = answer.json()["access"], time.monotonic()
        return {"Authorization": f"Bearer {self._token}"}

    def request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """One call below /api/v1/. Raises ApiError for any status from 400 on."""
        headers = {**self._headers(), **kwargs.pop("headers", {})}
        answer = self._http.request(method, f"/api/v1/{path}", headers=headers, **kwargs)
        if answer.is_error:
            raise ApiError(answer)
        return answer

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a GET."""
        return self.request("GET", path, params=params).json()

    def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        """The JSON of a POST, None when there is none."""
        answer = self.request("POST", path, json=body or {}, headers=headers)
        return answer.json() if answer.content else None

    def upload(self, path: Path) -> str:
        """Upload a file by tus; gives the upload's address."""
        size = path.stat().st_size
        metadata = f"filename {base64.b64encode(path.name.encode()).decode()}"
        tus = {"Tus-Resumable": "1.0.0"}
        created = self.request(
            "POST",
            "uploads/",
            headers={**tus, "Upload-Length": str(size), "Upload-Metadata": metadata},
        )
        location = httpx.URL(created.headers["Location"]).path.removeprefix("/api/v1/")
        with path.open("rb") as file:
            offset = 0
            while offset < size:
                answer = self.request(
                    "PATCH",
                    location,
                    content=file.read(CHUNK_BYTES),
                    headers={
                        **tus,
                        "Upload-Offset": str(offset),
                        "Content-Type": "application/offset+octet-stream",
                    },
                )
                offset = int(answer.headers["Upload-Offset"])
        return location

    def download(self, path: str, *, start: int = 0, end: int | None = None) -> bytes:
        """Bytes [start, end] of a file (end inclusive, as in HTTP)."""
        wanted = f"bytes={start}-{'' if end is None else end}"
        return self.request("GET", path, headers={"Range": wanted}).content

    def pages(self, path: str, **params: Any) -> Iterator[Any]:
        """Every row of a paged list."""
        page = 1
        while True:
            body = self.get(path, page=page, **params)
            yield from body["results"]
            if not body.get("next"):
                return
            page += 1
