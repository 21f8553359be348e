"""The floor of the fan-out: one asyncio process that reads the live stream and writes hand-made frames.

``python -m tests.benchmarks.floor PORT REDIS_URL``: no routing, no authentication, no bound, no SQL.
"""

import asyncio
import base64
import hashlib
import struct
import sys
from typing import Any

import redis.asyncio

from nodeagent.contract.channels import LIVE_STREAM

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def main(port: int, url: str) -> None:
    """Serve until killed."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()  # somebody who only looked whether the port is open
            return
        key = next(
            line.split(b": ")[1]
            for line in head.split(b"\r\n")
            if line.startswith(b"Sec-WebSocket-Key")
        )
        accepted = base64.b64encode(hashlib.sha1(key + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
        )
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    client = redis.asyncio.Redis.from_url(url)
    # not "$": it would be looked up anew at each call, and lose what came between two of them
    newest: Any = await client.xrevrange(LIVE_STREAM, count=1)
    last = newest[0][0] if newest else b"0"
    async with server:
        while True:
            answer: Any = await client.xread({LIVE_STREAM: last}, count=500, block=1000)
            for _name, entries in answer or []:
                for entry_id, fields in entries:
                    last = entry_id
                    body = fields[b"f"]
                    head = (
                        bytes((0x81, len(body)))
                        if len(body) < 126
                        else b"\x81\x7e" + struct.pack(">H", len(body))
                    )
                    for writer in writers:
                        writer.write(head + body)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
