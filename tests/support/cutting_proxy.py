"""A proxy before a server on loopback that cuts off every so manieth answer before its first byte: the request has arrived, the answer is lost."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import h11
import httpx

KEPT = {b"content-type", b"content-length"}
HELD_TO_THE_HOP = {b"host", b"connection", b"transfer-encoding"}


class CuttingProxy:
    """It counts the requests, and what it has cut."""

    def __init__(self, target: str, every: int) -> None:
        self.target = target
        self.every = every
        self.request_count = 0
        self.cut = 0

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            async with httpx.AsyncClient(base_url=self.target, timeout=60, trust_env=False) as upstream:
                while (content := await self.read_request(connection, reader)) is not None:
                    request, body = content
                    answer = await upstream.request(
                        request.method.decode(),
                        request.target.decode(),
                        content=body,
                        headers=[(name, value) for name, value in request.headers if name not in HELD_TO_THE_HOP],
                    )
                    self.request_count += 1
                    if self.request_count % self.every == 0:
                        self.cut += 1
                        return
                    headers = [(name, value) for name, value in answer.headers.raw if name.lower() in KEPT]
                    for event in (
                        h11.Response(status_code=answer.status_code, headers=headers),
                        h11.Data(data=answer.content),
                        h11.EndOfMessage(),
                    ):
                        writer.write(connection.send(event) or b"")
                    await writer.drain()
                    connection.start_next_cycle()
        except (OSError, httpx.TransportError, h11.RemoteProtocolError):  # either end is gone, so the other goes too
            return
        finally:
            writer.close()

    @staticmethod
    async def read_request(
        connection: h11.Connection, reader: asyncio.StreamReader
    ) -> tuple[h11.Request, bytes] | None:
        """The next request and its body; None where the client has ended the connection."""
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(2**16))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return request, body
            else:
                return None


@contextmanager
def cutting(target: str, every: int) -> Iterator[tuple[str, CuttingProxy]]:
    """The proxy in a thread; yields its base URL."""
    proxy = CuttingProxy(target, every)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def run() -> None:
            async with await asyncio.start_server(proxy.serve_connection, sock=listener):
                ready.set()
                await ended

        ended = loop.create_future()
        thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
        thread.start()
        ready.wait()
        try:
            yield url, proxy
        finally:
            loop.call_soon_threadsafe(ended.set_result, None)
            thread.join()
            loop.run_until_complete(end_all(loop))
            loop.close()


async def end_all(loop: asyncio.AbstractEventLoop) -> None:
    """End what still waits for a client or for the server."""
    waiting = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
