"""What to type where a verb needs packages that are not installed.

The package is on no index yet, so the hint names the extra's own requirements and not `everystep[extra]`.
"""

from importlib.metadata import requires


def install_hint(extra: str) -> str:
    """The command that installs what an extra needs. KeyError where there is no such extra.

    >>> install_hint("symbolic")
    "pip install 'math-verify>=0.8' 'sympy>=1.14'"
    """
    found = [r.partition(";") for r in requires("everystep") or ()]
    wanted = [name.strip() for name, _, marker in found if marker.strip() == f'extra == "{extra}"']
    if not wanted:
        raise KeyError(extra)
    return "pip install " + " ".join(f"'{name}'" for name in wanted)
