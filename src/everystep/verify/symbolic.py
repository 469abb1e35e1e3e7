"""Comparing algebra and LaTeX with math-verify, in a worker process that is killed when it takes too long.

The worker (this module run as a script) reads one JSON request per line and answers with one JSON line. Its
life is bounded by processor time and wall-clock time per request and by its memory; a request that runs over
costs the worker, never the caller. math-verify is optional: without it every comparison is None with the
reason.
"""

import atexit
import importlib.util
import json
import os
import queue
import re
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

TIMEOUT = 5.0
_PATIENCE = 6  # wall-clock seconds per second of work allowed, for a machine that does other things too
STARTUP_TIMEOUT = 60.0
_MEMORY = 3 << 30
_MAX_DEPTH = 40
_MAX_DIGIT_RUN = 60


def same_expression(answer: str, gold: str, timeout: float = TIMEOUT) -> tuple[bool | None, str]:
    """Whether two expressions are equal, and why; None where it could not be decided (not installed, too
    deep, too slow, not read). Never raises for any text; takes at most about `timeout` seconds of
    processor time once the worker runs. Results are remembered, so a hostile answer costs its time once."""
    for text in (answer, gold):
        reason = _refused(text)
        if reason:
            return None, reason
    if ("!" in answer) > ("!" in gold) or any((c in answer) > (c in gold) for c in ("\\sum", "\\prod", "\\int")):
        return None, "a factorial, sum or integral that the gold does not have"
    return _cached(answer, gold, timeout)


def available() -> bool:
    """Whether math-verify is installed."""
    return importlib.util.find_spec("math_verify") is not None


def _refused(text: str) -> str | None:
    depth = deepest = run = longest = 0
    for c in text:
        depth += (c in "({[") - (c in ")}]")
        deepest = max(deepest, depth)
        run = run + 1 if c.isdigit() else 0
        longest = max(longest, run)
    if deepest > _MAX_DEPTH:
        return "nested too deep"
    if longest > _MAX_DIGIT_RUN:
        return "too many digits"
    if text.count("^") + text.count("**") > 8:
        return "too many powers"
    return None


@lru_cache(maxsize=4096)
def _cached(answer: str, gold: str, timeout: float) -> tuple[bool | None, str]:
    if not available():
        return None, "math-verify is not installed (the extra `symbolic`)"
    reply = _WORKER.ask({"answer": answer, "gold": gold, "timeout": timeout}, timeout * _PATIENCE)
    return reply.get("same"), str(reply.get("reason", ""))


class _Worker:
    """One worker process, started on first use; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        with self._lock:
            try:
                process = self._running()
                if process is None or process.stdin is None:
                    return {"same": None, "reason": "the symbolic worker did not start"}
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                line = self._lines.get(timeout=timeout)
                reply = json.loads(line) if line else {"same": None, "reason": "took too long or too much memory"}
            except queue.Empty:
                self.stop()
                return {"same": None, "reason": "took longer than allowed"}
            except (OSError, ValueError):
                self.stop()
                return {"same": None, "reason": "the symbolic worker died"}
            if not line:
                self.stop()
            return reply

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue

    def _running(self) -> subprocess.Popen[str] | None:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        path = os.pathsep.join(p for p in sys.path if p)
        # -P keeps the folder of this module off the path: its `numbers.py` would hide the standard one.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "everystep.verify.symbolic"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        )
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
        self._process, self._lines = process, lines
        try:
            ready = lines.get(timeout=STARTUP_TIMEOUT)
        except queue.Empty:
            ready = ""
        if not ready:
            self.stop()
            return None
        return process


def _pump(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
    """Move the worker's lines into the queue; an empty one tells that it ended."""
    if process.stdout is not None:
        try:
            for line in process.stdout:
                lines.put(line)
        except (OSError, ValueError):
            pass
    lines.put("")


_WORKER = _Worker()
atexit.register(_WORKER.stop)


def _serve() -> None:
    """The worker: until the input ends, compare and answer."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    except (ImportError, ValueError, OSError):  # not on this system: the clock still bounds it
        pass
    out = sys.stdout
    sys.stdout = sys.stderr  # the libraries print
    _compare("(x+1)^2", "x^2+2x+1")  # the parser builds itself on first use; not at the first answer's cost

    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            _limit_work(request["timeout"])
            same, reason = _compare(request["answer"], request["gold"])
        except Exception as error:  # whatever the libraries raise on hostile text is "not decided"
            same, reason = None, f"math-verify failed: {type(error).__name__}"
        print(json.dumps({"same": same, "reason": reason}), file=out, flush=True)


def _limit_work(seconds: float) -> None:
    """Let the system end this worker after so much more processor time, however busy the machine is."""
    try:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        until = int(usage.ru_utime + usage.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (ImportError, ValueError, OSError):  # not on this system: the clock still bounds it
        return


def _compare(answer: str, gold: str) -> tuple[bool | None, str]:
    """In the worker: both sides boxed, so that nothing picks a stray number out of them."""
    from math_verify import parse, verify

    untimed: Any = None  # the clock of this module bounds them, not theirs

    read = [parse(f"\\boxed{{{_spelled(text)}}}", parsing_timeout=untimed) for text in (gold, answer)]
    if not read[0] or all(isinstance(r, str) for r in read[0]):
        return None, "the gold could not be read as an expression"
    if not read[1] or all(isinstance(r, str) for r in read[1]):
        return None, "the answer could not be read as an expression"
    if _proportional(read[0][0], read[1][0]):
        return True, "the same equation"
    same = verify(read[0], read[1], float_rounding=12, timeout_seconds=untimed, strict=True)
    if same and not _same_size(read[0][0], read[1][0]):
        return False, "different value"
    return bool(same), "equal by algebra" if same else "not equal by algebra"


# What math-verify reads otherwise than a person: degrees (it drops the sign) and bare function names.
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*\\circ|\^\s*\{\s*\\circ\s*\}|°)")
_BARE = re.compile(r"(?<![\\A-Za-z])(pi|sin|cos|tan|log|ln|theta|alpha|beta)(?![A-Za-z])")


def _spelled(text: str) -> str:
    text = _DEGREES.sub(r"(\1 \\cdot \\pi / 180)", text)
    text = re.sub(r"(\d+)!", r"(\1!)", text)
    text = _BARE.sub(r"\\\1 ", text).replace("π", "\\pi ").replace("\u221a", "\\sqrt")
    return text.replace("≤", "\\leq ").replace("≥", "\\geq ").replace("×", "\\times ").replace("·", "\\cdot ")


def _proportional(gold: Any, answer: Any) -> bool:
    """Whether two equations say the same: the difference of one's sides is a constant times the other's."""
    from sympy import Eq, simplify

    if not (isinstance(gold, Eq) and isinstance(answer, Eq)):
        return False
    sides: list[Any] = [gold.lhs, gold.rhs, answer.lhs, answer.rhs]
    a, b = sides[0] - sides[1], sides[2] - sides[3]
    if a.free_symbols != b.free_symbols or not a.free_symbols:
        return False
    ratio = simplify(a / b)
    return bool(ratio.is_number and ratio != 0)


def _same_size(gold: Any, answer: Any) -> bool:
    """math-verify rounds absolutely (1/2004! would be 1/2006!): constants must also agree relatively."""
    if not (getattr(gold, "is_number", False) and getattr(answer, "is_number", False)):
        return True
    a, b = gold.evalf(30), answer.evalf(30)
    size = max(abs(a), abs(b))
    return bool(size == 0 or abs(a - b) <= size * 10**-9)


if __name__ == "__main__":
    _serve()
