"""The command as a process: what `everystep` and `python -m everystep` start.

The verbs are in `cli`, which is imported last: a process that starts itself again need not have read it.
"""

import os
import sys

# Verbs that compute.
_COMPUTE = {"run", "pretrain", "eval", "ablate", "preflight", "export"}
# Large pages, and what is freed is kept: XLA asks for the same large buffers at every step.
ALLOCATOR = ":".join(
    f"glibc.malloc.{name}" for name in ("hugetlb=1", "arena_max=1", "mmap_max=0", "trim_threshold=1000000000000")
)


def start() -> None:
    """Run the command line and exit with its code.

    Verbs that compute begin a second time with an allocator that keeps its memory: XLA's buffers are mapped
    and unmapped at every step otherwise, and on a CPU the page faults of a training step cost as much as its
    arithmetic. glibc reads these settings only when a process begins.
    """
    if _COMPUTE & set(sys.argv[1:2]) and sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = ALLOCATOR
        os.execv(sys.executable, [sys.executable, "-m", "everystep", *sys.argv[1:]])
    from everystep.cli.app import main
    from everystep.cli.process import one_of_several, set_up_streams

    set_up_streams()
    code = main()
    if code and one_of_several():
        sys.stdout.flush()
        os._exit(code)  # the usual exit would wait for the others
    sys.exit(code)


if __name__ == "__main__":
    start()
