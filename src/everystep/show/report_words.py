"""What a run says, in words and figures for people: made of its numbers, never of expectations."""

from collections.abc import Mapping

from everystep.evaluate.compare import Pair
from everystep.evaluate.failures import Failure
from everystep.evaluate.harness import Rate
from everystep.show.report_data import Findings


def said(f: Findings) -> list[str]:
    """What the run says, in sentences made of its numbers."""
    lines = [_compared(pair) for pair in f.pairs]
    for before, after, made in f.gains:
        gained = made.recovered + made.newly_right
        if gained:
            lines.append(
                f"Of the {gained} tasks that {after} gained over {before}, {made.recovered} had the right "
                f"answer before in another form, and {made.newly_right} are newly right."
            )
    last = f.stages[-1]
    rows = f.failures[last.name]
    wrong = [(int(row["count"]), k) for k, row in rows.items() if k not in (Failure.RIGHT, Failure.WRONG_TRACE)]
    total = sum(n for n, _ in wrong)
    if total:
        n, most = max(wrong, key=lambda pair: pair[0])
        lines.append(f"After {last.name}, the most frequent failure is: {most.value} ({n} of {total} failures).")
    by_luck = int(rows[Failure.WRONG_TRACE]["count"])
    if by_luck:
        lines.append(f"{by_luck} answers of {last.name} are right although their work is not.")
    return lines


def rate(value: Mapping[str, float] | Rate) -> str:
    """A share with its interval: `73.0 [69.3, 76.4]`."""
    v, low, high = (
        (value.value, value.low, value.high)
        if isinstance(value, Rate)
        else (value["value"], value["low"], value["high"])
    )
    return f"{100 * v:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def percent(value: float | None) -> str:
    """A share in percent; what is not known is "–"."""
    return "–" if value is None else f"{100 * value:.1f}"


def points(pair: Pair) -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * pair.difference:+.1f} [{100 * pair.low:+.1f}, {100 * pair.high:+.1f}]"


def p_value(value: float) -> str:
    """A p-value, as far as it means anything."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _compared(pair: Pair) -> str:
    head = f"{pair.before} → {pair.after}: {points(pair)} points right in form"
    p = p_value(pair.adjusted)
    p = p if p.startswith("<") else f"= {p}"
    if not pair.apart:
        return f"{head}: the two cannot be told apart on these {pair.n} tasks (p {p})."
    return f"{head} (p {p} after Holm's correction, {pair.n} tasks)."
