"""Reading dates and clock times.

A date is what is written of year, month and day. `3/4/2020` is read as month/day (US) unless that is
impossible; it also keeps the other reading, so that a comparison can see that it is ambiguous.
"""

import re
from dataclasses import dataclass

from everystep.core.types import Reading, Verdict
from everystep.verify.latex import unwrap

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = {name: i + 1 for i, name in enumerate(_MONTHS)} | {name[:3]: i + 1 for i, name in enumerate(_MONTHS)}
_MONTH["sept"] = 9
_NAME = "(" + "|".join(sorted(_MONTH, key=len, reverse=True)) + r")\.?"
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_ISO = re.compile(r"(?<![\d/.-])(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?![\d/-]|\.\d)")
_NUMERIC = re.compile(r"(?<![\d/.-])(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})(?![\d/-]|\.\d)")
_MONTH_FIRST = re.compile(
    rf"\b{_NAME}\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)(?:\s*,?\s*(\d{{4}}\b|'\d\d\b))?", re.IGNORECASE
)
_DAY_FIRST = re.compile(
    rf"\b(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?(?:\s+|-)(?:of\s+)?{_NAME}\b(?:(?:\s*,?\s*|-)(\d{{4}}\b|'\d\d\b))?",
    re.IGNORECASE,
)
_MONTH_YEAR = re.compile(rf"\b{_NAME}\s*,?\s+(?:of\s+)?(\d{{4}})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Date:
    """What is written of a date; `swapped` where day and month could be read the other way round."""

    year: int | None
    month: int
    day: int | None
    swapped: bool = False


def read_dates(text: str) -> list[Date] | None:
    """The dates in a plain text, in order; None if something written like a date is none (month 13)."""
    found: list[tuple[int, Date]] = []
    taken: list[tuple[int, int]] = []
    for pattern in (_ISO, _NUMERIC, _MONTH_FIRST, _DAY_FIRST, _MONTH_YEAR):
        for match in pattern.finditer(text):
            if any(a < match.end() and match.start() < b for a, b in taken):
                continue
            date = _date(pattern, match)
            if date is None:
                return None
            taken.append(match.span())
            found.append((match.start(), date))
    return [date for _, date in sorted(found, key=lambda f: f[0])]


def is_date(text: str) -> bool:
    """Whether a plain text is one date and nothing else but a weekday."""
    rest = re.sub(r"\b(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b\.?,?", " ", text, flags=re.I)
    for pattern in (_ISO, _NUMERIC, _MONTH_FIRST, _DAY_FIRST, _MONTH_YEAR):
        match = pattern.search(rest)
        if match:
            return not (rest[: match.start()] + rest[match.end() :]).strip(" .,") and _date(pattern, match) is not None
    return False


def _year(text: str | None) -> int | None:
    return None if text is None else (2000 + int(text[1:]) if text[0] == "'" else int(text))


def _date(pattern: re.Pattern[str], match: re.Match[str]) -> Date | None:
    parts = match.groups()
    swapped = False
    if pattern is _ISO:
        year, month, day = int(parts[0]), int(parts[2]), int(parts[3])
    elif pattern is _NUMERIC:
        month, day, year = int(parts[0]), int(parts[2]), int(parts[3])
        year += 2000 if len(parts[3]) == 2 else 0
        if month > 12 or parts[1] == ".":
            month, day = day, month
        swapped = month != day and max(month, day) <= 12 and parts[1] != "."
    elif pattern is _MONTH_FIRST:
        month, day, year = _MONTH[parts[0].lower()], int(parts[1]), _year(parts[2])
    elif pattern is _DAY_FIRST:
        day, month, year = int(parts[0]), _MONTH[parts[1].lower()], _year(parts[2])
    else:
        month, day, year = _MONTH[parts[0].lower()], None, int(parts[1])
    if not 1 <= month <= 12 or (day is not None and not 1 <= day <= _DAYS[month - 1]):
        return None
    leap = year is not None and (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    if month == 2 and day == 29 and year is not None and not leap:
        return None
    return Date(year, month, day, swapped)


_CLOCK = re.compile(
    r"(?<![\d:.])(\d{1,2})(?::|h|\.(?=\d\d\s*[ap]\.?m))(\d{2})(?::(\d{2}))?(?![\d:])\s*"
    r"(a\.?\s?m\b\.?|p\.?\s?m\b\.?|o'clock\b|hours\b|hrs\b|h\b)?(?:\s*in\s+the\s+(morning|afternoon|evening)|\s*(noon)\b)?",
    re.IGNORECASE,
)
_HOUR = re.compile(
    r"(?<![\d:.])(\d{1,2})\s*(a\.?\s?m\b\.?|p\.?\s?m\b\.?|o'clock\b)(?:\s*in\s+the\s+(morning|afternoon|evening))?",
    re.IGNORECASE,
)
_MILITARY = re.compile(r"(?<![\d:.])([01]\d|2[0-3])([0-5]\d)\s*(?:hours|hrs|h)\b", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:12\s+)?(noon|midday|midnight)\b", re.IGNORECASE)
_HOURS: dict[str, int] = dict(
    zip("one two three four five six seven eight nine ten eleven twelve".split(), range(1, 13), strict=True)  # noqa: SIM905
)
_SPOKEN = re.compile(
    r"\b(?:(half|(?:a\s+)?quarter|\d{1,2}|five|ten|twenty|twenty-five)(?:\s+minutes?)?\s+(past|to|after|before|till)\s+)"
    rf"({'|'.join(_HOURS)}|\d{{1,2}})\b(?:\s*(a\.?m\.?|p\.?m\.?))?",
    re.IGNORECASE,
)
_MINUTES = {"half": 30, "quarter": 15, "five": 5, "ten": 10, "twenty": 20, "twenty-five": 25}


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock time in minutes and seconds after midnight; `open` where it could be twelve hours later."""

    seconds: int
    open: bool


def read_times(text: str) -> list[Clock] | None:
    """The clock times in a plain text, in order; None if something written like a time is none (25:00)."""
    found: list[tuple[int, Clock]] = []
    taken: list[tuple[int, int]] = []
    for pattern in (_SPOKEN, _CLOCK, _HOUR, _MILITARY, _NAMED):
        for match in pattern.finditer(text):
            if any(a < match.end() and match.start() < b for a, b in taken):
                continue
            clock = _clock(pattern, match)
            if clock is None:
                return None
            taken.append(match.span())
            found.append((match.start(), clock))
    return [clock for _, clock in sorted(found, key=lambda f: f[0])]


def is_time(text: str) -> bool:
    """Whether a plain text is one clock time and nothing else."""
    for pattern in (_SPOKEN, _CLOCK, _HOUR, _MILITARY, _NAMED):
        match = pattern.search(text)
        if match and not (text[: match.start()] + text[match.end() :]).strip(" ."):
            return _clock(pattern, match) is not None
    return False


def _clock(pattern: re.Pattern[str], match: re.Match[str]) -> Clock | None:
    parts = match.groups()
    if pattern is _NAMED:
        return Clock(0 if parts[0].lower() == "midnight" else 43200, False)
    if pattern is _MILITARY:
        return Clock(int(parts[0]) * 3600 + int(parts[1]) * 60, False)
    if pattern is _SPOKEN:
        amount = parts[0].lower().split()[-1]
        minutes = int(amount) if amount.isdigit() else _MINUTES[amount]
        hour = int(parts[2]) if parts[2].isdigit() else _HOURS[parts[2].lower()]
        if hour > 12 or minutes > 59:
            return None
        minutes = minutes if parts[1].lower() in ("past", "after") else -minutes
        return _twelve(hour, minutes * 60, (parts[3] or "").lower()[:1])
    if pattern is _HOUR:
        hour, seconds, mark = int(parts[0]), 0, parts[1].lower()[:1]
        period = parts[2]
    else:
        hour, mark = int(parts[0]), (parts[3] or "").lower()[:1]
        minute, second = int(parts[1]), int(parts[2] or 0)
        if minute > 59 or second > 59 or hour > 24:
            return None
        seconds, period = minute * 60 + second, parts[4] or parts[5]
    if period:
        mark = "a" if period.lower() == "morning" else "p"
    if mark not in ("a", "p", "o") and (hour > 12 or hour == 0 or (pattern is _CLOCK and parts[0][0] == "0")):
        return Clock((hour * 3600 + seconds) % 86400, False)
    if not 1 <= hour <= 12:
        # 19:30 PM says the same thing twice
        return Clock(hour * 3600 + seconds, False) if mark == "p" and 12 < hour < 24 else None
    return _twelve(hour, seconds, mark)


def _twelve(hour: int, seconds: int, mark: str) -> Clock:
    base = (hour % 12) * 3600 + seconds + (43200 if mark == "p" else 0)
    return Clock(base % 86400, mark not in ("a", "p"))


def same_time(answer: Clock, gold: Clock) -> bool:
    """Whether two clock times can be the same; a time without a.m. or p.m. may be either."""
    if answer.open or gold.open:
        return answer.seconds % 43200 == gold.seconds % 43200
    return answer.seconds == gold.seconds


_DENIED = re.compile(r"\D*(?:\b(?:not|never|cannot)\b|n't\b)", re.IGNORECASE)


def grade_date(answer: str, gold: str) -> Reading:
    """The verdict on a date; a year on one side only is no conflict."""
    target = read_dates(unwrap(gold))
    if not target or len(target) != 1:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is no date")
    text = unwrap(answer)
    said = read_dates(text)
    if said and _DENIED.match(text):
        return Reading(Verdict.WRONG, text, "only says what it is not")
    if not said:
        return Reading(Verdict.WRONG, None, "no date" if said is not None else "not a possible date")
    if any(d != said[0] for d in said):
        return Reading(Verdict.WRONG, text, "two different dates")
    mine, theirs = said[0], target[0]
    read = "-".join(f"{n:02d}" for n in (mine.year, mine.month, mine.day) if n is not None)
    same = (mine.month, mine.day) == (theirs.month, theirs.day)
    years = mine.year == theirs.year or mine.year is None or theirs.year is None
    if same and years:
        return Reading(
            Verdict.RIGHT,
            read,
            "equal" if mine.year == theirs.year else "equal; the year is on one side only",
        )
    crossed = (mine.month, mine.day) == (theirs.day, theirs.month) and years
    if crossed and mine.swapped != theirs.swapped:
        return Reading(Verdict.UNGRADABLE, read, "day and month could be either way round")
    return Reading(Verdict.WRONG, read, "another date")


def grade_time(answer: str, gold: str) -> Reading:
    """The verdict on a clock time."""
    target = read_times(unwrap(gold))
    if not target or len(target) != 1:
        return Reading(Verdict.UNGRADABLE, None, "the gold answer is no clock time")
    text = unwrap(answer)
    said = read_times(text)
    if said and _DENIED.match(text):
        return Reading(Verdict.WRONG, text, "only says what it is not")
    if not said:
        return Reading(Verdict.WRONG, None, "no clock time")
    if any(not same_time(t, said[0]) for t in said):
        return Reading(Verdict.WRONG, text, "two different times")
    same = all(same_time(t, target[0]) for t in said)
    reason = "equal" if same else "another time"
    if same and said[0].open != target[0].open:
        reason = "equal on the clock face; a.m. or p.m. is on one side only"
    return Reading(Verdict.RIGHT if same else Verdict.WRONG, text, reason)
