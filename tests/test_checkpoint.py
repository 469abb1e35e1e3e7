"""Laws of checkpoints: whole or not there, damaged ones passed over, failures said and nothing lost."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from everystep.train.checkpoint import CheckpointError, Checkpoints, Writer
from model_fixtures import TUNIX

pytestmark = TUNIX
IDENTITY = {"code": "1", "data": "2"}


def checkpoints(folder: Path, keep: int = 2, keep_every: int | None = None) -> Checkpoints:
    return Checkpoints(folder, IDENTITY, keep, keep_every)


def arrays(step: int) -> dict[str, np.ndarray]:
    return {
        "b/half": (np.arange(5) * step).astype(ml_dtypes.bfloat16),
        "a/float": np.linspace(0, step, 7, dtype=np.float32).reshape(7, 1),
        "count": np.array(step, np.int32),
    }


def steps(folder: Path) -> list[int]:
    return [int(p.name[5:13]) for p in checkpoints(folder).files()]


def newest(folder: Path) -> int | None:
    saved = checkpoints(folder).newest(lambda text: None)
    return saved.step if saved else None


def test_what_is_written_comes_back_bit_by_bit(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") is None
    about = {"schedule": [3, 0], "note": "é", "best": [1, 0.1 + 0.2]}
    checkpoints(tmp_path).write(3, arrays(3), about)
    saved = checkpoints(tmp_path).newest(pytest.fail)
    assert saved and saved.step == 3 and saved.about == about and saved.arrays.keys() == arrays(3).keys()
    for name, array in arrays(3).items():
        assert saved.arrays[name].dtype == array.dtype and saved.arrays[name].shape == array.shape
        assert saved.arrays[name].tobytes() == array.tobytes()


def test_the_same_state_is_the_same_file(tmp_path: Path) -> None:
    a = checkpoints(tmp_path / "a").write(3, arrays(3), {"x": 1, "y": 2})
    b = checkpoints(tmp_path / "b").write(3, dict(reversed(arrays(3).items())), {"y": 2, "x": 1})
    assert a.name == b.name and a.read_bytes() == b.read_bytes()


def test_the_newest_stay_and_some_for_good(tmp_path: Path) -> None:
    for step in range(1, 11):
        checkpoints(tmp_path, keep=2, keep_every=4).write(step, arrays(step), {})
    assert steps(tmp_path) == [4, 8, 9, 10]
    checkpoints(tmp_path).write(9, arrays(99), {})  # written again, with other bytes
    assert steps(tmp_path).count(9) == 1


def test_a_flipped_bit_anywhere_is_found_and_the_one_before_taken(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoints(tmp_path).write(step, arrays(step), {})
    last = checkpoints(tmp_path).files()[-1]
    whole = last.read_bytes()
    for at in [0, 7, 8, 60, len(whole) // 2, len(whole) - 1]:
        broken = bytearray(whole)
        broken[at] ^= 0x10
        last.write_bytes(bytes(broken))
        said: list[str] = []
        saved = checkpoints(tmp_path).newest(said.append)
        assert saved and saved.step == 1 and len(said) == 1 and "damaged" in said[0] and last.name in said[0]
        aside = last.with_name(f"{last.name}.damaged")
        assert aside.exists() and not last.exists()
        aside.unlink()


@pytest.mark.parametrize("left", [0, 1, 8, 100, -1])
def test_a_cut_file_is_found(tmp_path: Path, left: int) -> None:
    checkpoints(tmp_path).write(1, arrays(1), {})
    path = checkpoints(tmp_path).write(2, arrays(2), {})
    path.write_bytes(path.read_bytes()[:left])
    assert newest(tmp_path) == 1
    checkpoints(tmp_path).files()[0].write_bytes(b"")
    assert newest(tmp_path) is None


@pytest.mark.parametrize(
    ("other", "said"),
    [({"code": "9"}, "code"), ({"data": "9", "code": "9"}, "code, data"), ({"x": "1"}, "x")],
)
def test_another_identity_is_refused_by_name_and_can_be_accepted(
    tmp_path: Path, other: dict[str, str], said: str
) -> None:
    checkpoints(tmp_path).write(1, arrays(1), {})
    changed = Checkpoints(tmp_path, IDENTITY | other)
    with pytest.raises(CheckpointError, match=rf"made with other {said}, .*--accept {said.replace(' ', '')}"):
        changed.newest(pytest.fail)
    assert newest(tmp_path) == 1
    accepted = Checkpoints(tmp_path, IDENTITY | other, accept=frozenset(other))
    assert accepted.newest(pytest.fail) is not None


def test_a_folder_that_cannot_be_written_says_so_and_keeps_what_is_there(tmp_path: Path) -> None:
    checkpoints(tmp_path / "c").write(1, arrays(1), {})
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="step 2: cannot be written"):
        checkpoints(tmp_path / "file" / "c").write(2, arrays(2), {})
    assert newest(tmp_path / "c") == 1


def test_a_full_disk_is_one_line_and_the_last_good_state_stays(tmp_path: Path) -> None:
    """The system's own limit on a file's size stands for the disk's."""
    script = """
import resource, signal, sys
from pathlib import Path
from test_checkpoint import arrays, checkpoints
from everystep.train.checkpoint import CheckpointError
import numpy as np
folder = Path(sys.argv[1])
checkpoints(folder).write(1, arrays(1), {})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    checkpoints(folder).write(2, {"big": np.zeros(100_000, np.float32)}, {})
except CheckpointError as error:
    print(error)
"""
    out = python(script, tmp_path)
    assert "step 2: cannot be written" in out.stdout and os.strerror(errno.EFBIG) in out.stdout, out.stderr
    assert newest(tmp_path) == 1 and [p.suffix for p in tmp_path.iterdir()] == [".safetensors"]


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)


KILLED = """
import os, signal, sys
from pathlib import Path
from test_checkpoint import arrays, checkpoints
folder, fatal = Path(sys.argv[1]), int(sys.argv[2])
checkpoints(folder).write(1, arrays(1), {})
count = 0
def deadly(call):
    def wrapped(*given, **named):
        global count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)
    return wrapped
import builtins
for module, names in ((os, ("replace", "fsync", "open", "close", "unlink")), (builtins, ("open",))):
    for name in names:
        setattr(module, name, deadly(getattr(module, name)))
checkpoints(folder, keep=1).write(2, arrays(2), {})
print("lived", count)
"""


@pytest.mark.slow
def test_killed_at_every_boundary_of_a_write_there_is_always_a_whole_one(tmp_path: Path) -> None:
    """The process ends before its 1st, 2nd, … call that touches a file, until it lives through them all."""
    for fatal in range(1, 30):
        folder = tmp_path / str(fatal)
        out = python(KILLED, folder, fatal)
        said: list[str] = []
        saved = checkpoints(folder).newest(said.append)
        assert saved and not said and saved.step in (1, 2)
        if out.returncode == 0:
            assert saved.step == 2 and fatal > 5, out.stdout
            return
        assert out.returncode == -signal.SIGKILL, out.stderr
        checkpoints(folder).write(2, arrays(2), {})  # and the next one can be written
        assert newest(folder) == 2
    pytest.fail("the write has more boundaries than were tried")


def test_a_thread_writes_one_at_a_time_and_its_failure_is_raised(tmp_path: Path) -> None:
    writer = Writer(checkpoints(tmp_path, keep=9))
    for step in range(1, 5):
        writer.write(step, arrays(step), {})
    writer.close()
    assert steps(tmp_path) == [1, 2, 3, 4]
    (tmp_path / "file").write_text("")
    failing = Writer(checkpoints(tmp_path / "file" / "c"))
    failing.write(1, arrays(1), {})
    with pytest.raises(CheckpointError, match="cannot be written"):
        failing.close()
