"""What a model's name stands for: the hub and Kaggle as servers on this machine, asked with the real clients
by a process of its own; each refusal is one line."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "gemma3_text"}',
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "README.md": b"not wanted",
    "pytorch_model.bin": b"a second copy of the weights",
}
ASK = """
import json, sys
from everystep.model.io.source import find
said = []
for name in sys.argv[1:]:
    try:
        said.append(str(find(name).folder))
    except ValueError as error:
        said.append(f"! {error}")
print(json.dumps(said))
assert not {"jax", "tunix", "transformers"} & set(sys.modules)
"""


class Hub(BaseHTTPRequestHandler):
    """The few paths of the hub's interface that a download asks for."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        owner = path.removeprefix("/api/models").split("/")[1]
        asked = self.server.asked  # type: ignore[attr-defined]
        asked.append(path)
        if owner == "nobody" or owner == "kaggle":
            self.say(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif owner == "down":
            self.say(503, b"{}")
        elif path.startswith("/api/models") and "/revision/" in path:
            if path.endswith("/nine"):
                self.say(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            else:
                self.say(200, json.dumps({"id": "x/y", "sha": COMMIT}).encode())
        elif path.startswith("/api/models") and "/tree/" in path:
            rows = [{"type": "file", "path": k, "size": len(v), "oid": "0" * 40} for k, v in FILES.items()]
            self.say(200, json.dumps(rows).encode())
        elif owner == "gated":
            self.say(403, b"{}", {"X-Error-Code": "GatedRepo"})
        else:
            body = FILES[path.rpartition("/")[2]]
            etag = hashlib.sha1(body).hexdigest()
            self.say(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Kaggle(Hub):
    """Kaggle's answer to somebody who has not accepted a licence; and to a name that is none."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = self.rfile.read(length)
        self.say(404 if b"nothing" in asked or "nothing" in self.path else 403, b'{"message": "no"}')

    def do_GET(self) -> None:
        self.say(404 if "nothing" in self.path else 403, b'{"message": "no"}')


def serve(handler: type[Hub], port: int = 0) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def hub() -> Iterator[ThreadingHTTPServer]:
    server = serve(Hub)
    yield server
    server.shutdown()
    server.server_close()


def ask(names: Sequence[str], where: Path, **env: str) -> list[str]:
    """What `find` says to the names, in a process whose caches are empty but for `where`."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "KAGGLE", "http", "HTTP"))}
    set_ = {"HF_HOME": str(where / "hf"), "KAGGLEHUB_CACHE": str(where / "kaggle"), "HOME": str(where)}
    set_ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5", "NO_PROXY": "*"}
    command = [sys.executable, "-W", "ignore", "-c", ASK, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=keep | set_ | env, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert not any("\n" in line for line in said)
    return said


def test_the_hub_gives_a_folder_or_one_line(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{hub.server_address[1]}"
    found, pinned, gated, nobody, revision, down = ask(
        [
            "google/gemma-x",
            f"google/gemma-x@{COMMIT}",
            "gated/gemma-x",
            "nobody/x",
            "google/gemma-x@nine",
            "down/x",
        ],
        tmp_path,
        HF_ENDPOINT=address,
    )
    assert found == pinned and found.endswith(COMMIT)
    assert {p.name for p in Path(found).iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert Path(found, "model.safetensors").read_bytes() == b"weights"
    assert gated == (
        "! model gated/gemma-x: its licence has not been accepted by your account: open "
        "https://huggingface.co/gated/gemma-x, accept it, then set HF_TOKEN"
    )
    assert "no such repository on the hub" in nobody
    assert revision == "! model google/gemma-x@nine: there is no revision 'nine'"
    assert "the hub cannot be reached" in down
    offline, other = ask(
        ["google/gemma-x", "google/gemma-y"], tmp_path, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1"
    )
    assert offline == found and "no download of it is in the cache" in other


KAGGLE = "google/gemma-3/transformers/gemma-3-1b-it"


def test_a_kaggle_handle_gives_a_folder_or_one_line(tmp_path: Path) -> None:
    """Downloaded before, it is found without asking; else one line."""
    cache = tmp_path / "kaggle" / "models" / "google" / "gemma-3"
    folder = cache / "transformers" / "it" / "1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder.parent / "1.complete").touch()
    try:
        server = serve(Kaggle, 7777)  # where Kaggle's own client looks in its test environment
    except OSError:
        pytest.skip("port 7777, which Kaggle's client asks in its test environment, is taken")
    try:
        found, refused, nothing, short = ask(
            [
                "google/gemma-3/transformers/it/1",
                KAGGLE,
                "kaggle:google/nothing/transformers/x",
                "kaggle:google/gemma-3/flax",
            ],
            tmp_path,
            KAGGLE_API_ENVIRONMENT="TEST",
        )
    finally:
        server.shutdown()
        server.server_close()
    assert Path(found) == cache / "transformers" / "it" / "1"
    page = "https://www.kaggle.com/models/google/gemma-3"
    assert refused == (
        f"! model {KAGGLE}: Kaggle does not give it out: open {page}, accept its licence, then set "
        "KAGGLE_USERNAME and KAGGLE_KEY (in a notebook: add the model as an input)"
    )
    assert "Kaggle has no model of that handle" in nothing
    assert "not a folder; give" in short
    (gone,) = ask([KAGGLE], tmp_path, KAGGLE_API_ENVIRONMENT="TEST")
    assert "Kaggle cannot be reached, and no download of it is in the cache" in gone


def test_a_folder_that_is_in_the_way_comes_first(tmp_path: Path) -> None:
    (tmp_path / "google" / "gemma-x").mkdir(parents=True)
    (tmp_path / "google" / "gemma-x" / "config.json").write_text("{}")
    (said,) = ask([str(tmp_path / "google" / "gemma-x")], tmp_path)
    assert said == str(tmp_path / "google" / "gemma-x")


@pytest.mark.parametrize("name", ["", "gemma9", "a/b/c", "../x/y/z", "a b/c", "https://example.org/x"])
def test_a_name_that_is_nothing(name: str) -> None:
    from everystep.model.io.source import find

    with pytest.raises(ValueError, match="not a folder; give 'tiny' or a folder"):
        find(name)
