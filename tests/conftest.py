"""Where the tests find what they share, and the settings of hypothesis for all of them."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# No backend is probed for, and nothing goes to an accelerator that somebody is using.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Processes that tests start find the package as the tests do.
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1] / "src")

# Compiled programs outlive the tests (git ignores .cache/): they are keyed by content and versions, so never
# stale. One folder for each process of pytest-xdist: JAX writes in place, and another could read half a file.
CACHE = Path(__file__).resolve().parents[1] / ".cache" / os.environ.get("PYTEST_XDIST_WORKER", "one")
os.environ["XDG_CACHE_HOME"] = str(CACHE)

# The same examples every time: a test that fails must fail again.
settings.register_profile("everystep", derandomize=True, deadline=None, max_examples=200, database=None)
settings.load_profile("everystep")

ROOT = Path(__file__).resolve().parents[1]
LONGEST = ("test_stages", "test_grpo", "test_export", "test_decode", "test_sft", "test_checkpoints")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: of two processes neither is then left alone with one of them at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """What is imported by now stays: Tunix and pytest collect garbage after every trainer and every test, and
    would look through all of it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public data sets beside the repository; tests that need them are skipped where they are not."""
    folder = ROOT / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the public data sets in ../shared/data")
    return folder
