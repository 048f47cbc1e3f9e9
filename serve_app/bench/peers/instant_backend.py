"""An OpenAI backend that answers at once: what stands behind another router while it is measured.

`python instant_backend.py PORT`. Bare asyncio and one fixed reply, so that it answers many times
more requests per second than any router that is measured with it.
"""

import asyncio
import json
import sys

_WORDS = 16


def reply() -> bytes:
    """A whole HTTP response, the same for every request; as long as FakeServer's."""
    usage = {"prompt_tokens": 8, "completion_tokens": _WORDS, "total_tokens": 8 + _WORDS}
    message = {"role": "assistant", "content": " ".join(["word"] * _WORDS)}
    body = json.dumps(
        {
            "id": "chatcmpl-instant", "object": "chat.completion", "created": 1, "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
            "usage": usage,
        }
    ).encode()  # fmt: skip
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


REPLY = reply()


class Backend(asyncio.Protocol):
    """Answers each request as soon as its body is whole; GET is answered too."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end].lower()
            _, is_sized, rest = head.partition(b"\r\ncontent-length:")
            length = int(rest.split(b"\r\n", 1)[0]) if is_sized else 0
            if len(self._unread) < end + 4 + length:
                return
            self._unread = self._unread[end + 4 + length :]
            self._transport.write(REPLY)


async def serve(port: int) -> None:
    """Serves on 127.0.0.1 until cancelled."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
