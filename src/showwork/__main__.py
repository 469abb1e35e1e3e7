"""The command as a process: what `showwork` and `python -m showwork` start.

The verbs are in `cli`, which is imported last: a process that starts itself again need not have read it.
"""

import os
import sys

# Verbs that compute.
_COMPUTE = {"run", "pretrain", "eval", "ablate", "preflight", "export"}
_HUGE_PAGES = "glibc.malloc.hugetlb=1"


def start() -> None:
    """Run the command line and exit with its code.

    Verbs that compute begin a second time with huge pages for the allocator: XLA's buffers are mapped and
    unmapped at every step, and on a CPU the page faults of a training step cost as much as its arithmetic.
    glibc reads this setting only when a process begins.
    """
    if _COMPUTE & set(sys.argv[1:2]) and sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = _HUGE_PAGES
        os.execv(sys.executable, [sys.executable, "-m", "showwork", *sys.argv[1:]])
    from showwork.cli import main
    from showwork.process import one_of_several

    code = main()
    if code and one_of_several():
        sys.stdout.flush()
        os._exit(code)  # the usual exit would wait for the others
    sys.exit(code)


if __name__ == "__main__":
    start()
