"""The least that a web server can do: ``BENCH_BODY=FILE uvicorn tests.benchmarks.bare:application``."""

import os
from pathlib import Path
from typing import Any

BODY = Path(os.environ["BENCH_BODY"]).read_bytes()
PAGE = b"<!doctype html><title>bare</title><p>bare<form><input></form>"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The file's bytes as JSON at ``/json``, a page with one field anywhere else."""
    if scope["type"] != "http":
        return
    await receive()
    body, kind = (BODY, b"application/json") if scope["path"] == "/json" else (PAGE, b"text/html")
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
