"""Taking the wrapping off an answer: tags, Markdown and the LaTeX that stands around plain answers.

What is left is plain text for the readers of numbers, dates and words. LaTeX that is real mathematics
(roots, symbols, nested fractions) is left as it is; `symbolic.py` reads that.
"""

import re

from everystep.verify.numbers import plain, repeating

_TAG = re.compile(r"</?\s*(?:answer|reasoning|think|b|i|br|p|div|span|strong|em|code|sup|sub)\s*/?>", re.IGNORECASE)
_HEADING = re.compile(r"(?m)^\s*(?:#{1,6}(?!\w)|[*•](?=\s))\s*")
_BOLD = re.compile(r"(\*\*|__|\*|_|`{1,3}|~~)(?=[^\s*_`~])([^*`~\n]*?[^\s*_`~]|[^\s*_`~])\1(?![\w*])")
_DELIMITED = re.compile(r"\\[(\[]\s*(.*?)\s*\\[)\]]", re.DOTALL)
_DOLLARS = re.compile(r"(?<![\w$])\$\$?(?=[^\s$])([^$\n]*?[^$\s])\$\$?(?![\d$])")
_CONTENT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|mbox|hbox|emph|bf|rm)\s*\{([^{}]*)\}"
)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*([-+]?\s*[\d.,]+)\s*\}|(\d))\s*(?:\{\s*([\d.,]+)\s*\}|(\d))")
_OVERLINE = re.compile(r"(\d{0,12})\.(\d{0,12})\\(?:overline|bar|dot)\s*(?:\{\s*(\d{1,12})\s*\}|(\d))")
_POWER = re.compile(r"\^\s*\{\s*([-+]?\s*\w{1,4})\s*\}")
_REPLACED = {
    r"\times": "×", r"\cdot": "·", r"\div": "÷", r"\pm": "±", r"\approx": "≈", r"\leq": "≤", r"\geq": "≥",
    r"\le": "≤", r"\ge": "≥", r"\neq": "≠", r"\ne": "≠", r"\pi": "π", r"\infty": "∞", r"\degree": "°",
    r"\Omega": "Ω", r"\mu": "μ", r"\quad": " ", r"\qquad": " ", r"\left": "", r"\right": "", r"\ldots": "...",
    r"\dots": "...", r"\lt": "<", r"\gt": ">", r"\euro": "€", r"\pounds": "£", r"\displaystyle": "",
    r"\cup": "∪", r"\in": "∈", r"\to": "→", r"\rightarrow": "→", r"\Rightarrow": "⇒", r"\implies": "⇒",
    r"\therefore": "", r"\circ": "°", r"\colon": ":", r"\textdollar": "$",
    r"\big": "", r"\Big": "", r"\bigl": "", r"\bigr": "",
    r"\textdegree": "°", r"\sim": "~", r"\celsius": "°C", r"\percent": "%",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SPACE = re.compile(r"\\[,;:! ]|(?<!\\)~(?=\w)")
_MAX_BOXES = 8


def unwrap(text: str) -> str:
    r"""Plain text of an answer without its wrapping; real LaTeX stays. For short text (cut it first).

    >>> unwrap(r"$\boxed{\frac{1}{2}\text{ cup}}$"), unwrap("**42**"), unwrap(r"\$18"), unwrap("$18")
    ('1/2 cup', '42', '$18', '$18')
    """
    text = plain(text)
    text = _TAG.sub(lambda m: " ; " if "answer" in m.group().lower() else "", text).strip(" ;\n\t")
    text = boxed(text)
    text = text.replace("\\$", "\x01").replace("\\%", "%").replace("\\#", "#").replace("\\&", "&")
    text = text.replace("\\\\", " ; ") if "\\\\" in text else text
    text = _DELIMITED.sub(r"\1", text)
    for _ in range(2):
        text = _DOLLARS.sub(r"\1", text)
    if "*" in text or "`" in text or "_" in text or "~" in text:
        text = _BOLD.sub(r"\2", _BOLD.sub(r"\2", text))
    text = _HEADING.sub("", text)
    if "\\" in text or "{" in text:
        text = _latex(text)
    return text.replace("\x01", "$").rstrip("\\ ").strip()


def _latex(text: str) -> str:
    text = _OVERLINE.sub(_plain_repeating, text)
    text = text.replace("{,}", ",").replace("^\\circ", "°").replace("^{\\circ}", "°").replace("^{°}", "°")
    text = text.replace("\\{", "{").replace("\\}", "}").replace("\\!", "")
    for _ in range(3):
        text = _CONTENT.sub(r"\1", text)
    text = _SPACE.sub(" ", text)
    text = _FRACTION.sub(_plain_fraction, text)
    text = _POWER.sub(r"^\1", text)
    text = _COMMAND.sub(lambda m: _REPLACED.get(m.group(), m.group()), text)
    return text.replace("^°", "°")


def _plain_repeating(match: re.Match[str]) -> str:
    value = repeating(match.group(1), match.group(2), match.group(3) or match.group(4))
    return f"{value.numerator}/{value.denominator}"


def _plain_fraction(match: re.Match[str]) -> str:
    top = match.group(1) or match.group(2)
    bottom = match.group(3) or match.group(4)
    before = match.string[match.start() - 1 : match.start()]
    if "." in top + bottom:
        return match.group()
    return f"{' ' if before.isdigit() else ''}{top.strip()}/{bottom.strip()}"


def boxed(text: str) -> str:
    r"""The contents of the `\boxed{…}` groups where there are any (they are the answer), else the text.

    Text outside a box stays when it offers an alternative ("or"), so that a box cannot hide a hedge.
    """
    contents, outside, at = [], [], 0
    while len(contents) < _MAX_BOXES:
        start = min((i for i in (text.find("\\boxed", at), text.find("\\fbox", at)) if i >= 0), default=-1)
        if start < 0:
            break
        opening = text.find("{", start, start + 9)
        if opening < 0:
            break
        depth, end = 0, opening
        while end < len(text):
            depth += (text[end] == "{") - (text[end] == "}")
            if depth == 0:
                break
            end += 1
        contents.append(text[opening + 1 : end])
        outside.append(text[at:start])
        at = end + 1
    if not contents:
        return text
    outside.append(text[at:])
    around = " ".join(outside)
    if re.search(r"\b(?:or|not|n't|wrong|incorrect)\b", around):
        return "".join(o + c for o, c in zip(outside, [*contents, ""], strict=True))
    return ", ".join(contents)
