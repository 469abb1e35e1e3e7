"""What a process needs before it computes: JAX's environment, and a way to be asked to stop."""

import gc
import importlib.util
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from types import FrameType

from everystep.core.files import cache_folder

GONE = (
    "another process of this run has ended; end the rest and start all of them again with the same commands, "
    "and the run goes on from its last checkpoint"
)
INTERRUPTED = 130  # the exit code of a command that Ctrl-C has ended
WAS_INTERRUPTED = "everystep: interrupted; the same command again resumes"
STOPPED = 75  # the exit code of a run that was left in good order; the system's "try again later"


def set_up_streams() -> None:
    """Whatever the locale says: pipes and files get UTF-8, and a terminal that lacks a character a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def set_up_jax() -> None:
    """What must be in the environment before JAX is imported; what the user has set stays."""
    defaults = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "JAX_COMPILATION_CACHE_DIR": str(cache_folder("jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    # Without an accelerator's plug-in there is nothing to look for, and looking can take long and be noisy.
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "jax_plugins", "libtpu")
    if not any(importlib.util.find_spec(name) for name in plugins):
        defaults["JAX_PLATFORMS"] = "cpu"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)

    from absl import logging

    logging.set_verbosity(logging.ERROR)


def keep_imports() -> None:
    """What is imported by now stays. Tunix collects garbage several times before the first step, and would
    look through the modules each time."""
    gc.freeze()


def one_of_several() -> bool:
    """Whether this process trains together with others (`model/hosts.py`)."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.process_count() > 1


def asked_to_stop() -> Callable[[], str | None]:
    """From now on SIGTERM and SIGINT are requests: what this returns gives the first one's name, or None. A
    second SIGINT interrupts at once."""
    asked: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(f"asked to stop ({signal.Signals(number).name})")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return lambda: asked[0] if asked else None


@cache
def end_when_interrupted(seconds: float) -> None:
    """From now on the process is gone so many seconds after the first SIGINT, also where no signal reaches
    what it waits for: a lock, another thread at its end, a socket that it had not begun to wait for when the
    signal came. For commands that leave nothing half done wherever they end."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def wait() -> None:
        while signal.SIGINT not in os.read(heard, 16):
            pass
        time.sleep(seconds)
        print(WAS_INTERRUPTED, file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)

    threading.Thread(target=wait, daemon=True).start()
