"""An OpenAI-compatible server on loopback that answers as a script says: also badly, in every way."""

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from everystep.score.rubric import FOLDER, load_rubric, plain


@dataclass(frozen=True)
class Reply:
    """One response. `content` is what the model says; `body` overrides the whole body; `cut` closes the
    connection after half of it; `wait` comes before it; `trickle` seconds between its bytes."""

    content: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    cut: bool = False
    wait: float = 0.0
    trickle: float = 0.0
    finish: str = "stop"
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 700, "completion_tokens": 50})

    def text(self) -> str:
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.content}
        choice = {"index": 0, "finish_reason": self.finish, "message": message}
        tree = {"id": "x", "object": "chat.completion", "created": 1, "model": "stub-1", "choices": [choice]}
        return json.dumps(tree | ({} if self.usage is None else {"usage": self.usage}))


Script = Callable[[dict[str, Any], int], Reply]
"""From a request's body and how often exactly this prompt has come (from 0) to what comes back."""


@dataclass
class Server:
    """A running server: `asked` holds every request's body, `headers` its headers."""

    script: Script
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """A server on a free port of loopback, while the block runs."""
    server = Server(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with server.lock:
                before = sum(r["messages"] == request["messages"] for r in server.asked)
                server.asked.append(request)
                server.headers.append({k.lower(): v for k, v in self.headers.items()})
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            reply = server.script(request, before)
            time.sleep(reply.wait)
            with server.lock:  # before the client can know
                server.at_once -= 1
            try:
                self._reply(reply)
            except OSError:  # the client has gone
                self.close_connection = True

        def _reply(self, reply: Reply) -> None:
            content = reply.text().encode()
            self.send_response(reply.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if reply.cut:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                # A reset instead of an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            if reply.trickle:
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(reply.trickle)
                return
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _bad_steps() -> set[str]:
    """A step of every canary that must score low, as the judge is shown it."""
    found = {"(no steps)"}
    for path in FOLDER.glob("*.yaml"):
        rubric = load_rubric(path.stem)
        for canary in rubric.canaries.traces.values():
            found |= {plain(step, rubric) for step in canary.steps if not canary.at_least}
    return found - {"3 * 12 = 36"}


BAD = _bad_steps()


def criteria(prompt: str) -> list[str]:
    """What a prompt asks for."""
    found = re.findall(r"^Score the trace on: (.+)\. Reply", prompt, re.MULTILINE)
    return found[-1].split(", ")


def sound(prompt: str, good: int = 4) -> str:
    """What a sound judge answers: 1 for what no judge may fall for, else `good`."""
    score = 1 if any(step in prompt for step in BAD) else good
    return json.dumps({"rationale": "So it is."} | dict.fromkeys(criteria(prompt), score))


def user(request: Mapping[str, Any]) -> str:
    """The user's message of a request."""
    return request["messages"][-1]["content"]


def sound_reply(request: dict[str, Any], before: int) -> Reply:
    """The script of a server that works."""
    return Reply(sound(user(request)))
