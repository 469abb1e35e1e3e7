"""Publishing: what is let through, what the hub and Kaggle are sent, and one line for whatever goes wrong.

Both are servers on this machine that speak as much of the two protocols as the real clients ask for. The
command runs in processes of its own, many cases in each: the clients read their settings when imported.
"""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from everystep.cli import app as cli
from everystep.ship.push import TARGETS, PushError, bundle

TOKEN = "hf_neverToBeSeen"
KEY = "0123neverToBeSeen"
FILES = {
    "README.md": b"---\nlicense: gemma\n---\n# exported, after GRPO\n",
    "NOTICE": b"Gemma is provided under and subject to the Gemma Terms of Use\n",
    "config.json": b'{"model_type": "gemma3_text"}',
    "model.safetensors": bytes(range(256)) * 40,
    "tokenizer.json": b"{}",
}
AGREEMENT = {"logits": 1e-5, "tolerance": 1e-3, "weights": 0.0, "lost": 0.0, "tokens": 128, "ties": 0}
COMMANDS = """
import contextlib, io, json, os, sys
from everystep.cli import app as cli
said = []
for arguments, env in json.loads(sys.stdin.read()):
    os.environ.update(env)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(arguments)
    said.append((code, out.getvalue(), err.getvalue()))
    for name in env:
        del os.environ[name]
json.dump(said, sys.__stdout__)
heavy = {"jax", "tunix", "flax", "orbax", "transformers", "torch"} & set(sys.modules)
sys.exit(f"loaded {sorted(heavy)}" if heavy else 0)
"""

Said = tuple[int, str, str]


def exported(folder: Path, kind: str = "hf", base: str = "gemma", **about: Any) -> Path:
    """A folder as `everystep export` leaves it."""
    files = dict(FILES)
    if kind == "peft":
        files["adapter_config.json"] = files.pop("config.json")
        files["adapter_model.safetensors"] = files.pop("model.safetensors")
    if kind == "tunix":
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            del files[name]
        files |= {"actor/5/model_params/d/6df1": b"factors", "actor/5/_CHECKPOINT_METADATA": b"{}"}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    mark = {"format": kind, "run": "mine", "stage": "grpo", "step": 5, "base": base, "agreement": AGREEMENT}
    (folder / "export.json").write_text(json.dumps(mark | {"files": hashes} | about))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an export of each stage, and much besides that nobody may see."""
    root = tmp_path_factory.mktemp("runs") / "mine"
    exported(root / "export" / "sft" / "hf")
    for kind in ("hf", "peft", "tunix"):
        exported(root / "export" / "grpo" / kind, kind)
    (root / "recipe.json").write_text("{}")
    (root / "provenance.json").write_text('{"host": "secret"}')
    return root


# What is let through


def test_what_may_be_published(run: Path) -> None:
    found = bundle(run)
    assert found.folder == run / "export" / "grpo" / "hf" and found.gemma
    assert found.title == "mine after grpo, step 5 (hf)"
    assert found.files == {name: len(content) for name, content in sorted(contents(found.folder).items())}
    assert bundle(run, "peft").kind == "peft" and bundle(run, stage="sft").folder.parent.name == "sft"
    assert bundle(found.folder) == found == bundle(found.folder, "hf")
    assert "actor/5/model_params/d/6df1" in bundle(run, "tunix").files


def test_the_shipped_base_needs_no_notice(tmp_path: Path) -> None:
    found = exported(tmp_path / "hf", base="tiny")
    spoil(found, files=lambda files: files.pop("NOTICE"))
    (found / "NOTICE").unlink()
    assert not bundle(found).gemma


def spoil(folder: Path, files: Callable[[dict[str, str]], Any] | None = None, **about: Any) -> None:
    mark = json.loads((folder / "export.json").read_text()) | about
    if files is not None:
        files(mark["files"])
    (folder / "export.json").write_text(json.dumps(mark))


def without(folder: Path, name: str) -> None:
    (folder / name).unlink()
    spoil(folder, files=lambda files: files.pop(name))


def linked(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "more").symlink_to(folder.parent / "elsewhere")


def climbing(folder: Path) -> None:
    (folder.parent / "secret").write_text("secret")
    spoil(folder, files=lambda files: files.update({"../secret": hashlib.sha256(b"secret").hexdigest()}))


REFUSED = {
    "no mark": (lambda f: (f / "export.json").unlink(), "is no finished export"),
    "damaged mark": (lambda f: (f / "export.json").write_text('{"format": "h'), "export.json: is damaged"),
    "a list": (lambda f: (f / "export.json").write_text("[]"), "export.json: is damaged"),
    "other format": (lambda f: spoil(f, format="gguf"), "does not say that it was compared"),
    "not compared": (lambda f: spoil(f, agreement=None), "says nothing of a comparison"),
    "compared and worse": (
        lambda f: spoil(f, agreement=AGREEMENT | {"logits": 0.5}),
        "does not say that it was compared",
    ),
    "not a number": (
        lambda f: spoil(f, agreement=AGREEMENT | {"logits": "nan"}),
        "says nothing of a comparison",
    ),
    "nothing compared": (
        lambda f: spoil(f, agreement=AGREEMENT | {"tokens": 0}),
        "does not say that it was compared",
    ),
    "no hashes": (lambda f: spoil(f, files=dict.clear), "holds NOTICE, which is not of the export"),
    "no list of files": (lambda f: spoil_files(f, None), "export.json: is damaged"),
    "no hash": (lambda f: spoil_files(f, {"README.md": "abc"}), "holds NOTICE, which is not of the export"),
    "no card": (lambda f: without(f, "README.md"), "has no README.md, which must go with it"),
    "no notice": (lambda f: without(f, "NOTICE"), "has no NOTICE, which must go with it"),
    "a file is gone": (lambda f: (f / "tokenizer.json").unlink(), "lacks tokenizer.json"),
    "a changed card": (lambda f: (f / "README.md").write_text("# best"), "README.md is not the one"),
    "a flipped byte": (
        lambda f: (f / "model.safetensors").write_bytes(bytes([1]) + FILES["model.safetensors"][1:]),
        "model.safetensors is not the one",
    ),
    "a file more": (
        lambda f: (f / ".env").write_text("HF_TOKEN=x"),
        "holds .env, which is not of the export",
    ),
    "a folder more": (
        lambda f: ((f / "optimizer").mkdir(), (f / "optimizer" / "state").write_text("")),
        "holds optimizer/state",
    ),
    "a link to a folder": (linked, "holds more, which is not of the export"),
    "a way out": (climbing, "lacks ../secret"),
    "half": (lambda f: f.rename(f.with_name(".hf.partial")), "is no finished export"),
}


def spoil_files(folder: Path, value: Any) -> None:
    mark = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps(mark | {"files": value}))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    change, line = REFUSED[case]
    folder = exported(tmp_path / "hf")
    change(folder)
    with pytest.raises(ValueError, match=line) as error:
        bundle(next(p for p in tmp_path.iterdir() if p.name.endswith(("hf", ".partial"))))
    assert "\n" not in str(error.value)
    assert "everystep export RUN" in str(error.value) or "move it elsewhere" in str(error.value)


def test_what_is_asked_for_wrongly(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "recipe.json").write_text("{}")
    (bare / "checkpoints").mkdir()
    only = exported(tmp_path / "only" / "export" / "sft" / "peft", "peft").parents[2]
    (only / "recipe.json").write_text("{}")
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((tmp_path / "nowhere",), "is no finished export; make one"),
        ((tmp_path / "empty",), "is no finished export"),
        ((bare,), "is no finished export; make one"),
        ((bare / "checkpoints",), "is no finished export"),
        ((run, "gguf"), "grpo/gguf: is no finished export; there are export/grpo/hf, export/grpo/peft"),
        ((run, None, "base"), "base/hf: is no finished export; there are export/grpo/hf"),
        ((run, "peft", "sft"), "sft/peft: is no finished export; there are"),
        ((only,), "hf: is no finished export; there are export/sft/peft"),
        ((run / "export" / "grpo",), "is no finished export; there are hf, peft, tunix"),
        ((run / "export" / "grpo" / "hf", "peft"), "is exported as hf, not as peft"),
        ((run / "export" / "grpo" / "hf", None, "sft"), "is no run; without --stage"),
    ]
    for arguments, line in cases:
        with pytest.raises(ValueError, match=line):
            bundle(*arguments)


@pytest.mark.parametrize("name", ["", "x", "a/b/c", "../x", "a b/c", "https://x/y", "a/b@main", "a/--b", "a/b.git"])
def test_a_name_the_hub_cannot_have(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push", "hf", str(run), name]) == 2
    assert capsys.readouterr() == (
        "",
        f"everystep: {name!r}: is no name on the hub; give OWNER/NAME, e.g. ann/gemma-steps\n",
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ann/steps", "is no handle of Kaggle's"),
        ("ann/steps/transformers/1b/3", "without a version"),
        ("ann/st eps/transformers/1b", "is no handle of Kaggle's"),
        ("ann/steps/caffe/1b", "'caffe' is no framework of Kaggle's"),
        ("ann/steps/unspecified/1b", "'unspecified' is no framework of Kaggle's"),
    ],
)
def test_a_handle_kaggle_cannot_have(run: Path, name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push", "kaggle", str(run), name]) == 2
    assert line in capsys.readouterr().err


def test_too_many_files_for_kaggle_and_a_place_that_is_none(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(tmp_path / "hf")
    for i in range(50):
        (folder / f"{i}.bin").write_bytes(b"")
    empty = hashlib.sha256(b"").hexdigest()
    spoil(folder, files=lambda files: files.update({f"{i}.bin": empty for i in range(50)}))
    what = bundle(folder)
    with pytest.raises(PushError, match="has 56 files; Kaggle's client packs more than 50"):
        TARGETS["kaggle"].upload(what, "ann/steps/transformers/1b", False, None)
    assert cli.main(["push", "ftp", str(run), "ann/steps"]) == 2
    assert "'ftp': is no target of a push; there are hf, kaggle" in capsys.readouterr().err
    assert cli.main(["push", "hf", str(run), "ann/steps", "--license", "MIT"]) == 2
    assert "--license: is for Kaggle" in capsys.readouterr().err


# The two places


class Place(BaseHTTPRequestHandler):
    """What both servers do; `server.asked` keeps every (method, path, token), `server.kept` what was sent."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def say(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        about = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, text in (about | (headers or {})).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        raise NotImplementedError


class Hub(Place):
    """The hub of the user "ann", who belongs to "lab". Names of repositories say how it behaves."""

    def answer(self) -> None:
        path, body = self.path.split("?")[0], self.body()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        server: Any = self.server
        server.asked.append((self.command, path, token))
        if path.startswith("/lfs/"):
            return self.store(path.rpartition("/")[2], body)
        if token == "hf_refused":
            return self.say(401, {"error": "Invalid credentials in Authorization header"})
        if token == "hf_down":
            return self.say(503, {})
        if token == "hf_reader":
            return self.say(403, {"error": "this token may only read"})
        if path == "/api/validate-yaml":
            return self.say(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body), token)
        if path.endswith("/info/lfs/objects/batch"):
            name = path[1:].removesuffix(".git/info/lfs/objects/batch")
            return self.batch(name, json.loads(body)["objects"])
        owner, name, *rest = path.removeprefix("/api/models/").split("/")
        repository = server.kept.get(f"{owner}/{name}")
        if repository is None:
            return self.say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        if not rest:
            siblings = [{"rfilename": file} for file in repository["files"]]
            about = {"id": f"{owner}/{name}", "sha": "0" * 40, "private": repository["private"]}
            return self.say(200, about | {"siblings": siblings, "tags": [], "downloads": 0, "likes": 0})
        if rest[0] == "preupload":
            modes = [self.mode(file) for file in json.loads(body)["files"]]
            return self.say(200, {"files": modes})
        if rest[0] == "xet-write-token":
            return self.say(403, {"error": "no"})
        self.commit(f"{owner}/{name}", repository, [json.loads(line) for line in body.splitlines()])

    def mode(self, file: dict[str, Any]) -> dict[str, Any]:
        large = file["path"].endswith(".safetensors")
        return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

    def create(self, asked: dict[str, Any], token: str) -> None:
        server: Any = self.server
        name = f"{asked.get('organization') or 'ann'}/{asked['name']}"
        if name.startswith("bob/"):
            return self.say(403, {"error": "You are not bob"})
        if asked["name"] == "forbidden":
            return self.say(403, {"error": f"You may not create here, {token}"})
        if name in server.kept:
            return self.say(409, {"error": "You already created it", "url": f"https://huggingface.co/{name}"})
        server.kept[name] = {"private": asked["visibility"] == "private", "files": {}, "commits": []}
        self.say(200, {"url": f"https://huggingface.co/{name}"})

    def batch(self, name: str, objects: list[dict[str, Any]]) -> None:
        if name.endswith("/full"):
            error = {"code": 403, "message": "storage limit reached"}
            return self.say(200, {"objects": [o | {"error": error} for o in objects]})
        host = f"{address(self.server)}/lfs/{name.rpartition('/')[2]}"
        self.say(
            200,
            {"objects": [o | {"actions": {"upload": {"href": f"{host}/{o['oid']}"}}} for o in objects]},
        )

    def store(self, oid: str, body: bytes) -> None:
        if "/lfs/expired/" in self.path:
            return self.say(403, {})
        server: Any = self.server
        server.blobs[oid] = body
        self.say(200, {})

    def commit(self, name: str, repository: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        if name == "ann/cut":
            return self.hang_up()
        if name == "ann/slow":
            server: Any = self.server
            server.reached.set()
            server.go_on.wait(200)
            return self.hang_up()
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                repository["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository["files"][value["path"]] = self.server.blobs[value["oid"]]  # type: ignore[attr-defined]
            else:
                raise AssertionError(line)
        repository["commits"].append(lines[0]["value"]["summary"])
        self.say(200, {"commitUrl": f"https://huggingface.co/{name}/commit/{'1' * 40}", "commitOid": "1" * 40})


class Kaggle(Place):
    """Kaggle, asked as a proxy: its client knows no other address. Names of models say how it behaves."""

    def answer(self) -> None:
        path, body = self.path.removeprefix("http://localhost:7777"), self.body()
        server: Any = self.server
        server.asked.append((self.command, path, self.headers.get("Authorization", "")))
        if "/blob/" in path:
            return self.store(path.rpartition("/")[2], body)
        asked = json.loads(body)
        name = asked.get("modelSlug") or asked.get("slug") or ""
        {
            "GetModel": self.model,
            "CreateModel": self.create,
            "StartBlobUpload": self.start,
            "CreateModelInstance": self.instance,
            "CreateModelInstanceVersion": self.version,
        }[path.rpartition("/")[2]](name, asked)

    def model(self, name: str, asked: dict[str, Any]) -> None:
        server: Any = self.server
        basic = base64.b64encode(f"ann:{KEY}".encode()).decode()
        if self.headers.get("Authorization") not in (f"Bearer {KEY}", f"Basic {basic}"):
            return self.say(401, {"code": 401, "message": "Unauthenticated"})
        if name == "down":
            return self.say(503, {"code": 503, "message": "backend"})
        if name in server.kept:
            return self.say(200, {"slug": name, "isPrivate": server.kept[name]["private"]})
        self.say(403, {"code": 403, "message": f"Permission 'models.get' was denied for {KEY}"})

    def create(self, name: str, asked: dict[str, Any]) -> None:
        if name == "taken":
            return self.say(403, {"code": 403, "message": f"ann ({KEY}) may not create models of bob"})
        self.server.kept[name] = {"private": asked["isPrivate"], "versions": []}  # type: ignore[attr-defined]
        self.say(200, {"id": 1})

    def start(self, name: str, asked: dict[str, Any]) -> None:
        server: Any = self.server
        token = f"{len(server.blobs)}-{asked['name']}"
        server.blobs[token] = None
        cut = "/cut" if asked["contentLength"] == 13 else ""
        self.say(200, {"token": token, "createUrl": f"{address(server)}{cut}/blob/{token}"})

    def store(self, token: str, body: bytes) -> None:
        if "/cut/" in self.path:
            return self.hang_up()
        self.server.blobs[token] = body  # type: ignore[attr-defined]
        self.say(200, {})

    def instance(self, name: str, asked: dict[str, Any]) -> None:
        server: Any = self.server
        made = server.kept[name]["versions"]
        if asked["body"].get("licenseName") == "None such":
            return self.say(200, {"error": f"The license is not known, {KEY}", "errorCode": 400})
        if made:
            return self.say(200, {"error": "it is there already", "errorCode": 409})
        self.keep(name, asked)

    def version(self, name: str, asked: dict[str, Any]) -> None:
        self.keep(name, asked)

    def keep(self, name: str, asked: dict[str, Any]) -> None:
        server: Any = self.server
        asked["holds"] = dict(self.held(asked["body"], ""))
        server.kept[name]["versions"].append(asked)
        self.say(200, {"id": 1})

    def held(self, folder: dict[str, Any], at: str) -> Iterator[tuple[str, bytes]]:
        for file in folder.get("files", ()):
            token = file["token"]
            yield at + token.partition("-")[2], self.server.blobs[token]  # type: ignore[attr-defined]
        for below in folder.get("directories", ()):
            yield from self.held(below, f"{at}{below['name']}/")


def serve(handler: type[Place]) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.asked, server.kept, server.blobs = [], {}, {}
    server.reached, server.go_on = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub() -> Iterator[Any]:
    yield from serve(Hub)


@pytest.fixture
def kaggle() -> Iterator[Any]:
    yield from serve(Kaggle)


def environment(home: Path, **env: str) -> dict[str, str]:
    """An environment in which nobody has a token or a proxy but those that are given."""
    keep = {
        k: v
        for k, v in os.environ.items()
        if not k.upper().startswith(("HF_", "HUGGING", "KAGGLE")) and not k.upper().endswith("_PROXY")
    }
    own = {"HOME": str(home), "HF_HOME": str(home / "hf"), "KAGGLE_API_ENVIRONMENT": "TEST"}
    return keep | own | {"HF_HUB_DISABLE_XET": "1"} | env


def commands(home: Path, cases: list[tuple[list[str], dict[str, str]]], **env: str) -> list[Said]:
    """Exit code, stdout and stderr of each command, all in one process without anything of JAX."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMMANDS],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env=environment(home, **env),
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert TOKEN not in done.stdout + done.stderr and KEY not in done.stdout + done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


def address(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_without_the_word_nothing_is_sent(run: Path, tmp_path: Path, hub: Any, kaggle: Any) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(TOKEN)
    handle = ["push", "kaggle", str(run), "ann/steps/transformers/1b"]
    saved, bare, set_, quiet, keyed, with_token, public, as_json = commands(
        tmp_path,
        [
            (["push", "hf", str(run), "ann/steps"], {}),
            (handle, {}),
            (["push", "hf", str(run), "ann/steps", "--format", "peft", "--public"], {"HF_TOKEN": TOKEN}),
            (["push", "hf", str(run), "ann/steps", "--quiet"], {"HF_TOKEN": TOKEN}),
            (handle, {"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": KEY}),
            (handle, {"KAGGLE_API_TOKEN": KEY}),
            ([*handle, "--public"], {}),
            (["push", "hf", str(run), "ann/steps", "--json"], {"HF_TOKEN": TOKEN}),
        ],
        HF_ENDPOINT=address(hub),
        HTTP_PROXY=address(kaggle),
        NO_PROXY="127.0.0.1",
    )
    assert hub.asked == kaggle.asked == []
    everything = (saved, bare, set_, quiet, keyed, with_token, public, as_json)
    assert all((code, err) == (0, "") for code, _, err in everything)
    lines = saved[1].splitlines()
    assert lines[0].endswith("mine after grpo, step 5 (hf), compared with its policy, unchanged since")
    listed = {line.split()[0]: int(line.split()[1].replace(",", "")) for line in lines[1:7]}
    assert listed == {n: len(c) for n, c in contents(run / "export" / "grpo" / "hf").items()}
    assert lines[7] == "  6 files, 0.0 MB"
    assert lines[8:] == [
        f"to {address(hub)}/ann/steps, private",
        "account: a token of Hugging Face",
        "nothing was sent; the same command with --yes uploads it",
    ]
    assert "/ann/steps, public\naccount: a token of Hugging Face\n" in set_[1] and "adapter_model" in set_[1]
    assert quiet[1] == "" and "account: no token is found\n" in bare[1]
    assert "account: a key of ann\n" in keyed[1] and "account: a token of Kaggle\n" in with_token[1]
    assert "/models/ann/steps/transformers/1b, public\n" in public[1]
    told = json.loads(as_json[1])
    assert (told["sent"], told["seen"], told["bytes"]) == (False, "private", sum(listed.values()))
    assert told["files"] == listed


def test_the_hub_gets_the_export_and_nothing_else(run: Path, tmp_path: Path, hub: Any) -> None:
    hub.kept["lab/written"] = {
        "private": True,
        "files": {".gitattributes": b"", "LICENSE": b""},
        "commits": [],
    }
    token = {"HF_TOKEN": TOKEN}
    first, second, public, seen, mixed, tunix, beside = commands(
        tmp_path,
        [
            (["push", "hf", str(run), "ann/steps", "--yes"], token),
            (["push", "hf", str(run), "ann/steps", "--yes", "--stage", "sft"], token),
            (["push", "hf", str(run), "lab/open", "--yes", "--public", "--json"], token),
            (["push", "hf", str(run), "lab/open", "--yes"], token),
            (["push", "hf", str(run), "ann/steps", "--yes", "--format", "peft"], token),
            (["push", "hf", str(run), "Ann/tunix", "--yes", "--format", "tunix", "--quiet"], token),
            (["push", "hf", str(run / "export" / "grpo" / "hf"), "lab/written", "--yes"], token),
        ],
        HF_ENDPOINT=address(hub),
    )
    export = run / "export" / "grpo"
    said = (first, second, public, seen, mixed, tunix, beside)
    assert [code for code, _, _ in said] == [0, 0, 0, 2, 2, 0, 0], said
    assert first[1].splitlines()[-1] == f"{address(hub)}/ann/steps" and first[2] == ""
    assert hub.kept["ann/steps"]["files"] == contents(export / "hf")
    assert hub.kept["ann/steps"]["private"] and not hub.kept["lab/open"]["private"]
    titles = ["mine after grpo, step 5 (hf)", "mine after grpo, step 5 (hf)"]
    assert hub.kept["ann/steps"]["commits"] == titles
    told = json.loads(public[1])
    assert told["sent"] and told["address"] == f"{address(hub)}/lab/open" and told["seen"] == "public"
    assert hub.kept["lab/open"]["files"] == contents(export / "hf")
    assert "and is public; give --public or another name" in seen[2]
    assert "holds config.json, which is not of this export" in mixed[2]
    assert tunix[1:] == (f"{address(hub)}/Ann/tunix\n", "")
    assert hub.kept["Ann/tunix"]["files"] == contents(export / "tunix")
    assert hub.kept["lab/written"]["files"] == contents(export / "hf") | {
        ".gitattributes": b"",
        "LICENSE": b"",
    }
    assert {token for _, path, token in hub.asked if path.startswith("/api/models")} == {TOKEN}


def test_what_the_hub_refuses_is_one_line(run: Path, tmp_path: Path, hub: Any) -> None:
    there = {"private": True, "files": {".gitignore": b"*.safetensors"}, "commits": []}
    hub.kept["ann/ignores"] = there
    cases = {
        ("ann/x", ""): "no token is here; make one that may write at https://",
        ("ann/x", "hf_refused"): "the token is refused",
        ("ann/x", "hf_reader"): "may not write there (this token may only read); make one that may write",
        ("ann/x", "hf_wïth"): "its client does not understand",
        ("ann/x", "hf_down"): "the server answered with status 503; try again later",
        ("bob/x", TOKEN): "may not write there (You are not bob); make one",
        ("ann/forbidden", TOKEN): "may not write there (You may not create here, …); make one",
        ("ann/full", TOKEN): "storage limit reached",
        ("ann/expired", TOKEN): "may not write there",
        (
            "ann/cut",
            TOKEN,
        ): "the connection failed (RemoteProtocolError); nothing of it is there",
        ("ann/ignores", TOKEN): "holds .gitignore, which is not of this export",
    }
    asked = [
        (["push", "hf", str(run), name, "--yes", "--quiet"], {"HF_TOKEN": token} if token else {})
        for name, token in cases
    ]
    for (name, token), (code, out, err) in zip(cases, commands(tmp_path, asked, HF_ENDPOINT=address(hub)), strict=True):
        line = cases[name, token]
        assert (code, out) == (2, ""), (name, token, out, err)
        assert err.startswith(f"everystep: {address(hub)}/{name}: ") and err.count("\n") == 1, err
        assert line in err
        assert not token or token not in err
    assert not any(r["files"] for n, r in hub.kept.items() if n != "ann/ignores")
    assert "bob/x" not in hub.kept and there["files"] == {".gitignore": b"*.safetensors"}


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the connection failed (ConnectError); nothing of it is there"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set; unset it"),
        ({"HF_HUB_DISABLE_XET": "0"}, "the token's owner may not write there; make one"),
    ],
    ids=["no network", "offline", "large files refused"],
)
def test_settings_of_the_hub_s_client(run: Path, tmp_path: Path, hub: Any, env: dict[str, str], line: str) -> None:
    command = ["push", "hf", str(run), "ann/steps", "--yes", "--quiet"]
    ((code, out, err),) = commands(tmp_path, [(command, {"HF_TOKEN": TOKEN})], **{"HF_ENDPOINT": address(hub)} | env)
    assert (code, out, err.count("\n")) == (2, "", 1) and line in err
    assert not any(r["files"] for r in hub.kept.values())


def test_an_interrupted_push_leaves_nothing(run: Path, tmp_path: Path, hub: Any) -> None:
    env = environment(tmp_path, HF_ENDPOINT=address(hub), HF_TOKEN=TOKEN)
    command = [sys.executable, "-m", "everystep", "push", "hf", str(run), "ann/slow", "--yes", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert hub.reached.wait(150)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    # Twice where what the library waits for has to be left.
    assert set(err.splitlines()) == {"everystep: interrupted; the same command again resumes"}
    assert hub.kept["ann/slow"]["files"] == {}


def test_kaggle_gets_the_export_and_nothing_else(run: Path, tmp_path: Path, kaggle: Any) -> None:
    key, token = {"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": KEY}, {"KAGGLE_API_TOKEN": KEY}
    kaggle.kept["open"] = {"private": False, "versions": []}
    tiny = exported(tmp_path / "tiny", base="tiny")
    said = commands(
        tmp_path,
        [
            (["push", "kaggle", str(run), "ann/steps/transformers/1b", "--yes"], key),
            (["push", "kaggle", str(run), "ann/steps/transformers/1b", "--yes", "--stage", "sft"], token),
            (
                ["push", "kaggle", str(run), "ann/open/flax/1b", "--yes", "--public", "--format", "tunix"],
                token,
            ),
            (["push", "kaggle", str(tiny), "ann/small/pyTorch/x", "--yes", "--quiet"], token),
            (
                ["push", "kaggle", str(tiny), "ann/small/pyTorch/y", "--yes", "--license", "MIT", "--json"],
                token,
            ),
        ],
        HTTP_PROXY=address(kaggle),
    )
    assert [(code, err) for code, _, err in said] == [(0, "")] * 5, said
    page = "http://localhost:7777/models/ann"
    assert said[0][1].splitlines()[-1] == f"{page}/steps/transformers/1b"
    assert said[3][1] == f"{page}/small/pyTorch/x\n" and json.loads(said[4][1])["sent"]
    steps, small = kaggle.kept["steps"], kaggle.kept["small"]
    assert steps["private"] and small["private"] and not kaggle.kept["open"]["private"]
    one, two = steps["versions"]
    export = run / "export" / "grpo"
    assert one["holds"] == contents(export / "hf") and two["holds"] == contents(run / "export" / "sft" / "hf")
    assert (one["ownerSlug"], one["body"]["instanceSlug"]) == ("ann", "1b")
    assert (one["body"]["framework"], one["body"]["licenseName"]) == ("MODEL_FRAMEWORK_TRANSFORMERS", "Gemma")
    assert two["body"]["versionNotes"] == "mine after grpo, step 5 (hf)"
    assert kaggle.kept["open"]["versions"][0]["holds"] == contents(export / "tunix")
    assert [v["body"].get("licenseName") for v in small["versions"]] == ["Apache 2.0", None]


def test_what_kaggle_refuses_is_one_line(run: Path, tmp_path: Path, kaggle: Any) -> None:
    kaggle.kept |= {"open": {"private": False, "versions": []}, "closed": {"private": True, "versions": []}}
    folder = exported(tmp_path / "cut")
    (folder / "vocabulary").write_bytes(b"thirteen byte")
    digest = hashlib.sha256(b"thirteen byte").hexdigest()
    spoil(folder, files=lambda files: files.update({"vocabulary": digest}))
    token = {"KAGGLE_API_TOKEN": KEY}
    dead = token | {"HTTP_PROXY": "http://127.0.0.1:9"}
    cases: list[tuple[str, list[str], dict[str, str], str]] = [
        ("steps", [], {}, "no token is here; make one at https://www.kaggle.com/settings/api"),
        (
            "steps",
            [],
            {"KAGGLE_API_TOKEN": "another"},
            "the token is refused (Unauthenticated); make one",
        ),
        (
            "steps",
            [],
            {"KAGGLE_API_TOKEN": "with\nnewline"},
            "its client does not understand the answer, or the token",
        ),
        ("steps", [], dead, "the connection failed (ProxyError); no version was made of it"),
        ("down", [], token, "the server answered with status 503 (backend); try again later"),
        ("taken", [], token, "may not write there (ann (…) may not create models of bob); make one"),
        ("steps", ["--public"], token, "or would be made, and is private; give --private"),
        ("open", [], token, "is public; give --public or another name"),
        ("closed", ["--public"], token, "is private; give --private"),
        (
            "steps",
            ["--license", "None such"],
            token,
            "Kaggle refuses it (The license is not known, …); is the",
        ),
        ("cut", [str(folder)], token, "the connection failed (ConnectionAbortedError); no version was made of it"),
    ]
    asked = [
        (["push", "kaggle", *(more or [str(run)]), f"ann/{name}/transformers/1b", "--yes", "--quiet"], env)
        if name == "cut"
        else (["push", "kaggle", str(run), f"ann/{name}/transformers/1b", "--yes", "--quiet", *more], env)
        for name, more, env, _ in cases
    ]
    env = {"HTTP_PROXY": address(kaggle)}
    for (name, _, given, line), (code, out, err) in zip(
        cases, commands(tmp_path, [(a, env | e) for a, e in asked]), strict=True
    ):
        assert (code, out, err.count("\n")) == (2, "", 1), (name, out, err)
        assert err.startswith(f"everystep: http://localhost:7777/models/ann/{name}/transformers/1b: "), err
        assert line in err
        assert not given or given.get("KAGGLE_API_TOKEN", "-") not in err
    assert not any(model["versions"] for model in kaggle.kept.values())
