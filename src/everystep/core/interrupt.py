"""Work that may be dropped at any moment is dropped soon after a request to stop, wherever it is."""

import _thread
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from everystep.core.types import Stopped

GRACE = 5.0  # seconds
STOPPED = 75  # the exit code of a command that was left in good order; the system's "try again later"
_LOOK = 0.2  # seconds between two looks at the request


@contextmanager
def droppable(stop: Callable[[], str | None], what: str, grace: float = GRACE) -> Iterator[None]:
    """While this lasts, a request to stop (`stop` gives its reason, asked from another thread) raises Stopped
    in the main thread as soon as Python code runs there: after a chunk of decoding at most. Where no Python
    code runs for `grace` seconds, as in a long compilation, the process ends with exit code 75.

    Only for work that leaves nothing half done. `what` names it in the message.
    """
    over = Event()

    def message() -> str:
        return f"{stop()}; {what} is given up, nothing of it is kept, and the same command begins it again"

    def watch() -> None:
        while stop() is None:
            if over.wait(_LOOK):
                return
        until = time.monotonic() + grace
        while time.monotonic() < until:
            _thread.interrupt_main()  # the first may be taken for the request itself
            if over.wait(1.0):
                return
        print(f"everystep: {message()}", file=sys.stderr, flush=True)
        os._exit(STOPPED)

    Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        over.set()
        if stop() is None:
            raise
        raise Stopped(message()) from None
    finally:
        over.set()
