"""The notebook: nothing in it but commands and parameters, and all of its cells run, with the tiny recipe."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from everystep.core.recipe import load
from test_stages import ROOT, SMALL

PATH = ROOT / "notebooks" / "kaggle_tpu.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(PATH.read_text())["cells"] if cell["cell_type"] == kind]


def test_it_has_no_logic_and_no_outputs() -> None:
    for cell in cells("code"):
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
        assert len(lines) <= 5 and cell["outputs"] == [] and cell["execution_count"] is None
        for line in lines:
            assert line.startswith(("!everystep ", "%pip ", "from IPython", "HTML(")) or " = " in line, line


def test_its_recipe_is_there() -> None:
    (parameters,) = [c for c in cells("code") if c["metadata"].get("tags") == ["parameters"]]
    named: dict[str, str] = {}
    exec("".join(parameters["source"]), named)
    assert load(ROOT.parent / named["RECIPE"].replace("everystep", ROOT.name, 1)).name == "gemma3_1b"


def test_what_it_installs_is_this_project(tmp_path: Path) -> None:
    """pip's dry run of the install cell as it is written, in a folder that holds a clone: a bare name would be
    looked up on the index, where it may be anybody's."""
    subprocess.run(["git", "clone", "-q", "--depth", "1", ROOT.as_uri(), tmp_path / "everystep"], check=True)
    named: dict[str, str] = {}
    exec("".join(next(c for c in cells("code") if c["metadata"].get("tags") == ["parameters"])["source"]), named)
    (line,) = [line for c in cells("code") for line in c["source"] if line.startswith("%pip install")]
    asked = shlex.split(line.removeprefix("%pip ").replace("{REPOSITORY}", named["REPOSITORY"]))
    command = [sys.executable, "-m", "pip", *asked, "--dry-run", "--no-deps", "--ignore-installed", "--report", "-"]
    command += ["--no-build-isolation", "--disable-pip-version-check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["install"]
    assert found["metadata"]["name"] == "everystep"
    assert found["download_info"] == {"url": (tmp_path / "everystep").as_uri(), "dir_info": {}}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel of its own, with the tiny model instead of the large one and nothing to install."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(PATH, as_version=4)
    changes = " ".join(SMALL)
    (parameters,) = [c for c in notebook.cells if c.metadata.get("tags") == ["parameters"]]
    parameters.source = "\n".join(
        [
            f"REPOSITORY = {str(ROOT)!r}",
            f"RECIPE = {str(ROOT / 'recipes' / 'tiny.yaml')!r}",
            f"CHANGES = {changes!r}",
            "DEVICE = 'cpu'",
            "RUN = 'runs/mine'",
        ]
    )
    for cell in notebook.cells:
        cell.source = cell.source.replace("%pip install", "%pip install --dry-run --no-deps --no-build-isolation")
        # Of a command that fails IPython says nothing: the exit code is asked for.
        if cell.source.startswith("!everystep plan") or cell.source.startswith("!everystep preflight"):
            cell.source += "\nassert _exit_code in (0, 2), _exit_code"
        elif cell.source.startswith("!everystep"):
            cell.source += "\nassert _exit_code == 0, _exit_code"
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    client = nbclient.NotebookClient(notebook, timeout=1500, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    said = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    for word in ("base", "grpo", "evaluate/test/grpo/records.jsonl", "export/tunix"):
        assert word in said, f"{word!r} is not in what the cells say, which ends: {said[-3000:]}"
    assert (tmp_path / "runs/mine/evaluate/summary.json").is_file()
    assert (tmp_path / "export/hf/model.safetensors").is_file()
