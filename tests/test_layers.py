"""The rules of the house that a machine can check: who imports whom, how big things are, what is tracked."""

import ast
import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from everystep.core.recipe import load
from everystep.evaluate.changes import arms, read_ablation

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "everystep"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A unit (module or folder of the package) may import from the lines above its own, and from itself.
LAYERS = (
    ("core",),
    ("verify",),
    ("data", "score"),
    ("model",),
    ("evaluate",),
    ("train",),
    ("forecast",),
    ("show",),
    ("ship",),
    ("pipeline",),
    ("cli",),
    ("__main__",),
)
ENGINE = "train/tunix.py"  # the one module that trains with Tunix
DEVICE = {"model", "train"}  # the only units that may import these:
DEVICE_LIBRARIES = {"jax", "jaxlib", "flax", "optax", "orbax", "tunix", "qwix", "grain"}
LINES = 600  # of a module: one idea may need them, two never do
LONG = 60  # lines of a function
ENTRIES = 12  # rooms of the house, beside `__init__`, `__main__` and the marker `py.typed`
# What is still longer, with its lines. The list may only shrink.
LONGER = {
    "model/decode.py:decode": 88,
    "verify/phrases.py:_in_digits": 68,
    "verify/tokens.py:tokenize": 88,
}
TOTAL = 34_450  # lines of the package; may only shrink
MEGABYTES = 6
VAGUE = {"util", "utils", "common", "helper", "helpers", "manager", "base", "misc"}
KWARGS = {"train/timing.py:_listen"}  # functions that a library calls with arguments by name


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def our_imports(path: Path) -> Iterator[tuple[int, Path]]:
    """Line and file of every module of ours that a module imports."""
    for line, full in imported(path):
        parts = full.split(".")
        if parts[0] != "everystep":
            continue
        for n in range(len(parts), 0, -1):  # the longest prefix that is a module; the rest is a name in it
            at = PACKAGE.joinpath(*parts[1:n])
            found = [p for p in (at.with_suffix(".py"), at / "__init__.py") if n > 1 and p.is_file()]
            if found:
                yield line, found[0]
                break


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    return [ROOT / p for p in listed.stdout.decode().split("\0") if p and (ROOT / p).is_file()]


def test_every_unit_has_its_place() -> None:
    placed = {u for line in LAYERS for u in line}
    assert {unit(p) for p in MODULES} - {"__init__"} <= placed


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_upwards(path: Path) -> None:
    level = {u: i for i, line in enumerate(LAYERS) for u in line}
    wrong = [
        f"{name(path)}:{line}: imports {name(other)}"
        for line, other in our_imports(path)
        if unit(path) == "__init__"
        or (unit(other) not in ("__init__", unit(path)) and level[unit(other)] >= level[unit(path)])
    ]
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_model_and_train_know_devices(path: Path) -> None:
    found = [f"{name(path)}:{n}: {full}" for n, full in imported(path) if full.split(".")[0] in DEVICE_LIBRARIES]
    assert unit(path) in DEVICE or not found


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_private_names_of_libraries_are_left_alone(path: Path) -> None:
    """Of JAX nowhere; of Tunix's training nothing but in the one module (model/ subclasses its model classes)."""
    found = [f"{name(path)}:{n}: {full}" for n, full in imported(path) if "_src" in full.split(".")]
    for n, full in imported(path):
        of = full.split(".")
        if of[0] == "tunix":
            room = of[1] == "models" and unit(path) in ("model", "train")
            private = any(part.startswith("_") for part in of)
            if private or not (room or name(path) == ENGINE):
                found.append(f"{name(path)}:{n}: {full}")
    assert not found


def test_no_import_goes_round_in_a_circle() -> None:
    after = {p: {other for _, other in our_imports(p)} - {p} for p in MODULES}
    while free := [p for p, others in after.items() if not others & after.keys()]:
        for p in free:
            del after[p]
    assert not [name(p) for p in after]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES
    assert not VAGUE & set(path.relative_to(PACKAGE).with_suffix("").parts)
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{name(path)} has no docstring"


def test_functions_are_short() -> None:
    found = dict[str, int]()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > LONG:
                    found[f"{name(path)}:{node.name}"] = lines
    assert {f: n for f, n in found.items() if n > LONGER.get(f, LONG)} == {}
    assert not LONGER.keys() - found.keys(), "shorter by now: take them off the list"


def test_the_house_has_few_rooms_and_does_not_grow() -> None:
    rooms = {unit(p) for p in MODULES} - {"__init__", "__main__"}
    shown = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if not p.name.startswith("__")} - {"py.typed"}
    assert rooms == shown and len(rooms) <= ENTRIES
    assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES) <= TOTAL


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_function_swallows_arguments(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    swallowing = {f"{name(path)}:{f.name}" for f in functions if f.args.kwarg is not None}
    assert swallowing <= KWARGS


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_is_evaluated_and_no_signal_is_set(path: Path) -> None:
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert not {"eval", "exec", "__import__"} & set(calls)
    if name(path) != "cli/process.py":  # where the process is asked to stop; never for a timeout
        assert "signal" not in {full.split(".")[0] for _, full in imported(path)}


@pytest.mark.parametrize(
    "statement",
    ["import everystep", "import everystep.verify.grade", "import everystep.cli.app", "import everystep.core.run"],
)
def test_the_host_half_runs_without_jax(statement: str) -> None:
    code = f"import sys; {statement}; print(sorted({DEVICE_LIBRARIES!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]"


def test_the_package_itself_costs_nothing_to_import() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import everystep"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent).stderr
    (own,) = [line for line in said.splitlines() if line.split("|")[-1].strip() == "everystep"]
    assert int(own.split("|")[1]) <= 50_000, "microseconds, with all that it imports"


def test_the_order_of_stages_stands_in_one_place() -> None:
    """But for the schema of ablations, whose type has to name them."""
    order = re.compile(r"""["']base["'],\s*["']sft["'],\s*["']grpo["']""")
    found = {name(p) for p in MODULES if order.search(p.read_text(encoding="utf-8"))}
    assert found == {"core/run.py", "evaluate/changes.py"}


ABLATIONS = sorted((ROOT / "recipes" / "ablations").glob("*.yaml"))
RECIPES = sorted(set((ROOT / "recipes").rglob("*.yaml")) - set(ABLATIONS))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_recipe_loads(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    assert path.read_text(encoding="utf-8").startswith("#"), "says command, device, hours and expected result first"


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_ablation_loads(path: Path) -> None:
    ablation = read_ablation(path)
    assert {a.seed for a in arms(ablation, path)} == set(ablation.seeds)
    assert path.read_text(encoding="utf-8").startswith("#")


def test_the_lock_holds_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(r) for r in (*project["dependencies"], *extras["symbolic"], *extras["test"])]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = {canonicalize_name(n): v for n, v in re.findall(r"^([\w.-]+)==(\S+) \\$", lock, re.MULTILINE)}
    for requirement in asked:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None and requirement.specifier.contains(pin, prereleases=True), f"{requirement}: {pin}"
    blocks = re.split(r"^(?=\S+==)", lock, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "torch" not in pins and not re.search(r"://|^-", lock, re.MULTILINE)


def test_every_library_that_is_imported_is_named() -> None:
    """Not only brought along by another one, which may let go of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    named = {canonicalize_name(Requirement(r).name) for r in asked}
    homes = importlib.metadata.packages_distributions()
    imported = set[str]()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"everystep"}
    assert {"jax", "yaml", "jinja2"} <= foreign
    unnamed = {m for m in foreign if not named & {canonicalize_name(d) for d in homes.get(m, ())}}
    assert not unnamed


# A place on one machine, or a package registry: neither belongs in what is tracked.
PLACES = re.compile(
    r"(?<![\w./~:-])/(?:home|root|Users|work|tmp|mnt|opt)/\w|index-url[ =]+\w|trusted-host[ =]+\w"
    r"|\b(?:pypi\.org|files\.pythonhosted\.org)\b"
)


def test_no_tracked_file_names_a_place_on_one_machine() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{n}: {line[:120]}" for n, line in enumerate(lines, 1) if PLACES.search(line)
        ]
    assert not found


# The index does not give the name to us: who types it gets somebody else's package, or none.
BARE = re.compile(r"""pip install[^\n`]*[\s'"\\]everystep(?:\[|['"\s`]|$)""")


def test_nobody_is_told_to_install_a_bare_name() -> None:
    texts = {
        p: p.read_text(encoding="utf-8", errors="replace")
        for p in set(tracked()) - {Path(__file__).resolve()}
        if p.suffix in {".py", ".md", ".ipynb"}
    }
    assert not [f"{p.relative_to(ROOT)}: {m[0]}" for p, text in texts.items() for m in BARE.finditer(text)]
    assert BARE.search("pip install 'everystep[play]'") and BARE.search("pip install everystep")
    assert not BARE.search('pip install "./everystep[tpu]"')


def test_no_tracked_file_is_large() -> None:
    assert not [p.relative_to(ROOT).as_posix() for p in tracked() if p.stat().st_size > MEGABYTES * 1_000_000]
