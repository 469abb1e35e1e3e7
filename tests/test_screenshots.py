"""The images of the documents: each that is named is there and small, README's are those that the script
makes, and the script makes them from a run."""

import importlib.util
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, ImageChops

from everystep.show.findings import read_findings
from run_fixtures import finished

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = 1_500_000  # bytes of all images
NAMED = re.compile(r'(?:src|srcset)="([^"]+)"|!\[[^\]]*\]\(([^)\s]+)')


@pytest.fixture(scope="module")
def screenshots() -> ModuleType:
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "docs" / "screenshots.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(document: Path) -> list[Path]:
    """The images that a document shows."""
    found = [a or b for a, b in NAMED.findall(document.read_text(encoding="utf-8"))]
    return [document.parent / name for name in found]


def pixels(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB")


def ground(image: Image.Image) -> Any:
    """The colour of the left margin, half way down."""
    return image.getpixel((8, image.height // 2))


def test_every_image_that_is_named_is_there_and_small(screenshots: ModuleType) -> None:
    shown = {path.resolve() for document in DOCUMENTS for path in named(document)}
    assert not [path.name for path in shown if not path.is_file()]
    images = {path for path in shown if path.suffix != ".svg"}  # a drawing stands beside its document
    assert images == {path.resolve() for path in IMAGES.iterdir()}  # and none is left over
    assert shown - images == {path.resolve() for path in (ROOT / "docs").glob("*.svg")}
    assert all(path.stat().st_size <= screenshots.BYTES for path in shown - images)
    sizes = {path.name: path.stat().st_size for path in images}
    assert max(sizes.values()) <= screenshots.BYTES and sum(sizes.values()) <= ALL
    for path in images:
        with Image.open(path) as image:
            assert image.format == "PNG" and min(image.size) > 800
            assert not image.info  # no place, no time, no name


def test_images_of_the_readme_are_those_the_script_makes(screenshots: ModuleType) -> None:
    shown = named(ROOT / "README.md")
    assert {path.parent for path in shown} == {IMAGES}
    assert sorted({path.name for path in shown}) == sorted(screenshots.IMAGES)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r'<img [^>]*alt="[^"]{30,}"', text)) == len(re.findall("<img ", text))
    assert "docs/screenshots.py" in text


def test_the_script_makes_them_from_a_run(
    screenshots: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screenshots, "SCALE", 1)  # a quarter of the work
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    run = finished(tmp_path / "some", n=40)
    found = read_findings(run)
    assert screenshots.question(found).question in {g.task.question for g in found.stages[-1].graded}
    with screenshots.chromium() as browser:
        shots = [*screenshots.report_shots(browser, found), screenshots.terminal_shot(browser, run)]
        assert {name for name, _ in shots} == {n for n in screenshots.IMAGES if "playground" not in n}
        for name, png in shots:
            before = pixels(png)
            assert (sum(ground(before)) > 3 * 128) == name.endswith("-light.png")
            if name in ("work-dark.png", "terminal.png"):
                few = screenshots.small(name, png)
                after = pixels(few)
                assert len(few) < len(png) and ground(before) == ground(after)
                apart: Any = ImageChops.difference(before, after).getextrema()
                assert max(high for _, high in apart) < 32
        # What belongs to the machine is not shown, wherever it comes from.
        with pytest.raises(ValueError, match="belongs to this machine: /srv/somewhere"):
            next(screenshots.report_shots(browser, replace(found, name="/srv/somewhere/run")))
        assert screenshots.personal("made in /srv/somewhere/run") and not screenshots.personal("3 km/h and 1/2")


def test_a_run_that_cannot_be_shown_is_said_so(
    screenshots: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert screenshots.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no run is here" in capsys.readouterr().err and not (tmp_path / "out").exists()
    run = finished(tmp_path / "run", n=8)
    shutil.rmtree(run.root / "evaluate" / "test" / "sft")
    shutil.rmtree(run.root / "evaluate" / "test" / "base")
    with pytest.raises(ValueError, match="a comparison needs two"):
        screenshots.question(read_findings(run))


def test_what_belongs_to_a_machine(screenshots: ModuleType) -> None:
    for text in ("km/h, 3 / 4 / 5 and a/b/c.jsonl", "http://127.0.0.1:7860/ answered", "1.2.3"):
        assert screenshots.personal(text) == ""
    for text in (
        "in /srv/run/x",
        "see file:///srv",
        "at 10.1.2.3",
        "http://10.1.2.3/",
        f"on {screenshots.HOST}",
    ):
        assert screenshots.personal(text)
