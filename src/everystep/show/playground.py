"""The playground's page: models are asked, traces are checked, records are browsed.

The page is Gradio's; its pieces are made by `play_cards`, models are asked through `play_ask`. What comes
in is bounded here. How the page is served, and what may leave it, is `play_serve`.
"""

import json
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everystep.core.trace import MAX_CHARS
from everystep.core.types import Sampling, Task
from everystep.show.checked import printable
from everystep.show.play_ask import Model, ask
from everystep.show.play_cards import answers, asked, checked_trace, heading, note
from everystep.show.play_records import ANY, FAILURES, VERDICTS, Book, Wish, browse, domains, stages

QUESTION = 4_000  # characters
GOLD = 200  # characters of a right answer
AT_ONCE = 8  # questions that are being looked after; others wait in the page's queue
# A long text is cut before it is sent: a little too long is enough for the server to say so.
_CUT = f"(...all) => all.map((v) => typeof v === 'string' && v.length > {MAX_CHARS} ? v.slice(0, {MAX_CHARS + 1}) : v)"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one question may ask for: seconds a model may take, samples, tokens of each."""

    seconds: float = 60.0
    samples: int = 16
    tokens: int = 512
    usual: int = 160  # tokens unless another number is chosen


def build(models: Sequence[Model], books: Sequence[Book], known: Sequence[Task], limits: Limits = Limits()) -> Any:
    """The page, as Gradio's `Blocks`. Models, and books, have names of their own; `known`: tasks that are
    offered as examples, with their answers."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    import gradio as gr

    known = [t for t in known if printable(t.question + t.answer) == t.question + t.answer]
    about = f"of {' and '.join(book.name for book in books)}" if books else ""
    with gr.Blocks(title="everystep playground", analytics_enabled=False) as page:
        _html(heading([f"{m.name}{f' · {m.about}' if m.about else ''}" for m in models], about))
        with gr.Tabs():
            with gr.Tab("Ask", id="ask"):
                _ask_tab({m.name: m for m in models}, known, limits)
            with gr.Tab("Check a trace", id="check"):
                _check_tab()
            with gr.Tab("Records", id="records") as tab:
                if books:
                    _records_tab(tab, {book.name: book for book in books})
                else:
                    _html(
                        note("No run is open. `everystep play RUN` shows the records of its evaluations here."),
                    )
    return page


def _html(value: str = "", name: str | None = None) -> Any:
    import gradio as gr

    return gr.HTML(value, elem_id=name, apply_default_css=False, padding=False, js_on_load=None)


def _ask_tab(models: Mapping[str, Model], known: Sequence[Task], limits: Limits) -> None:
    import gradio as gr

    stops: dict[str, threading.Event] = {}  # by the session that asks: it has one question at a time

    with gr.Row(equal_height=True):
        question = gr.Textbox(
            label="Question",
            lines=3,
            max_lines=10,
            scale=3,
            elem_id="question",
            placeholder="A train travels 60 km in 1.5 hours. What is its average speed?",
        )
        with gr.Column(scale=1, min_width=220):
            gold = gr.Textbox(label="Right answer (optional)", lines=1, max_lines=1, elem_id="gold")
            with gr.Row():
                go = gr.Button("Ask", variant="primary", elem_id="go", min_width=90)
                end = gr.Button("Stop", elem_id="stop", min_width=70)
    examples = gr.Dataset(
        label="Examples",
        components=[gr.Textbox(visible=False)],
        samples=[[task.question] for task in known],
        sample_labels=[f"{task.domain}: {task.question}" for task in known],
        type="index",
        elem_id="examples",
        visible=bool(known),
    )
    with gr.Accordion("Sampling", open=False, elem_id="sampling"):
        with gr.Row():
            temperature = gr.Slider(
                0,
                1.5,
                0,
                step=0.1,
                label="Temperature",
                info="0: always the likeliest token",
                elem_id="temperature",
                min_width=200,
            )
            n = gr.Slider(
                1,
                limits.samples,
                1,
                step=1,
                label="Samples",
                info="of each model",
                elem_id="samples",
                min_width=200,
            )
            tokens = gr.Slider(
                32,
                limits.tokens,
                limits.usual,
                step=16,
                label="Tokens",
                info="the most of one answer",
                elem_id="tokens",
                min_width=200,
            )
            seed = gr.Number(
                0,
                precision=0,
                minimum=0,
                label="Seed",
                info="another one: other samples",
                elem_id="seed",
                min_width=200,
            )
        names = gr.CheckboxGroup(
            list(models), value=list(models), label="Models", elem_id="models", visible=len(models) > 1
        )
    message = _html(name="message")
    board = _html(note("Choose an example or write a question, then press Ask (or Ctrl+Enter)."), "board")

    def on_ask(
        question: Any,
        gold: Any,
        temperature: Any,
        n: Any,
        tokens: Any,
        seed: Any,
        names: Any,
        request: gr.Request,
    ) -> Iterator[tuple[str, Any]]:
        if why := _wrong({"question": (question, QUESTION), "right answer": (gold, GOLD)}, "question"):
            yield note(why, wrong=True), gr.skip()
            return
        wanted = [model for name, model in models.items() if name in (names or ())]
        if not wanted:
            yield note("No model is chosen: see Sampling.", wrong=True), gr.skip()
            return
        how = Sampling(
            temperature=_number(temperature, 0, 1.5),
            max_tokens=int(_number(tokens, 1, limits.tokens)),
            seed=int(_number(seed, 0, 2**31)),
        )
        many = int(_number(n, 1, limits.samples))
        alike = many > 1 and how.temperature == 0
        many = 1 if alike else many
        said = note("At temperature 0 all samples are the same, so there is one." if alike else "")
        task, session = asked(question, gold or "", known), str(request.session_hash)
        stop = stops[session] = threading.Event()
        try:
            for replies in ask(wanted, task, many, how, limits.seconds, stop):
                yield said, answers(task, replies, many, how)
        finally:
            stop.set()
            if stops.get(session) is stop:
                del stops[session]

    def on_stop(request: gr.Request) -> None:
        if (stop := stops.get(str(request.session_hash))) is not None:
            stop.set()

    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [question, gold, temperature, n, tokens, seed, names]
    go.click(on_ask, inputs, [message, board], js=_CUT, concurrency_limit=AT_ONCE, **hidden)
    end.click(on_stop, None, None, queue=False, **hidden)
    # In the browser: an example is there before anybody can press a button. An answer that belongs to an
    # example leaves with its question.
    pairs = json.dumps([[task.question, task.answer] for task in known])
    examples.click(None, [examples], [question, gold], js=f"(i) => {pairs}[i] ?? ['', '']")
    question.input(
        None,
        [question, gold],
        [gold],
        js=f"(q, a) => {pairs}.some((one) => one[1] === a && one[0] !== q) ? '' : a",
    )


def _check_tab() -> None:
    import gradio as gr

    with gr.Row():
        with gr.Column(scale=3):
            trace = gr.Textbox(
                label="Trace",
                lines=9,
                max_lines=24,
                elem_id="trace",
                placeholder="Work in any form: with <reasoning> and <answer>, or lines such as 12 * 4 = 48",
            )
        with gr.Column(scale=2):
            question = gr.Textbox(
                label="Question (optional)",
                lines=4,
                max_lines=10,
                elem_id="its-question",
                info="with it, numbers without a source are found",
            )
            gold = gr.Textbox(label="Right answer (optional)", lines=1, max_lines=1, elem_id="its-gold")
            with gr.Row():
                go = gr.Button("Check", variant="primary", elem_id="check-go", min_width=90)
                example = gr.Button("Example", elem_id="check-example", min_width=90)
    board = _html(note("Paste some work, or take the example, then press Check (or Ctrl+Enter)."), "checked")

    def on_check(trace: Any, question: Any, gold: Any) -> str:
        texts = {"trace": (trace, MAX_CHARS), "question": (question, QUESTION), "right answer": (gold, GOLD)}
        if why := _wrong(texts, "trace"):
            return note(why, wrong=True)
        return checked_trace(question or "", trace, gold or "")

    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    go.click(on_check, [trace, question, gold], [board], js=_CUT, concurrency_limit=4, **hidden)
    example.click(None, None, [trace, question, gold], js=f"() => {json.dumps(EXAMPLE)}")


# A trace with a slip in it, which the last line inherits.
EXAMPLE = (
    "<reasoning>\n"
    "Step 1: A box has 3 * 6 = 18 pencils.\n"
    "Step 2: So 7 boxes have 18 * 7 = 124 pencils.\n"
    "Step 3: After 26 are given away, 124 - 26 = 98 are left.\n"
    "Therefore, 98 pencils are left.\n"
    "</reasoning>\n"
    "<answer>98</answer>",
    "A box has 3 rows of 6 pencils. Rosa has 7 boxes and gives 26 pencils away. How many pencils are left?",
    "100",
)


def _records_tab(tab: Any, books: Mapping[str, Book]) -> None:
    import gradio as gr

    first = next(iter(books))
    with gr.Row():
        book = gr.Dropdown(list(books), value=first, label="Run", visible=len(books) > 1, elem_id="r-run")
        stage = gr.Dropdown([], label="Stage", elem_id="r-stage", min_width=130)
        domain = gr.Dropdown([ANY], value=ANY, label="Domain", elem_id="r-domain", min_width=130)
        verdict = gr.Dropdown([ANY, *VERDICTS], value=ANY, label="Verdict", elem_id="r-verdict", min_width=130)
        failure = gr.Dropdown([ANY, *FAILURES], value=ANY, label="Class", elem_id="r-class", min_width=160)
        words = gr.Textbox(label="Text or id", lines=1, max_lines=1, elem_id="r-words", min_width=160)
    with gr.Row(elem_classes="pager"):
        back = gr.Button("← Back", elem_id="r-back", min_width=90, scale=1)
        where = gr.Number(1, precision=0, minimum=1, label="Page", elem_id="r-page", min_width=90, scale=1)
        on = gr.Button("Next →", elem_id="r-next", min_width=90, scale=1)
    board = _html(name="records")

    def on_open(name: Any) -> tuple[Any, Any]:
        try:
            held = stages(books[name])
            return (
                gr.Dropdown(list(held), value=list(held)[-1]),
                gr.Dropdown([ANY, *domains(books[name])], value=ANY),
            )
        except (ValueError, KeyError):
            return gr.skip(), gr.skip()  # `look` says what is wrong

    def look(wishes: Sequence[Any], page: float) -> tuple[str, Any]:
        name, stage, domain, verdict, failure, words = wishes
        if why := _wrong({"text": (words, QUESTION)}, ""):
            return note(why, wrong=True), gr.skip()
        try:
            held = stages(books[name])
            wish = Wish(stage if stage in held else list(held)[-1], domain, verdict, failure, words or "")
            shown, at, pages = browse(books[name], wish, int(page) - 1)
        except (ValueError, KeyError) as error:
            return note(str(error), wrong=True), gr.skip()
        return shown, gr.Number(at + 1, label=f"Page, of {pages}")

    def on_wish(*wishes: Any) -> tuple[str, Any]:
        return look(wishes, 1)

    def on_page(*all: Any) -> tuple[str, Any]:
        return look(all[:-1], _number(all[-1], 1, 1e6))

    def on_back(*all: Any) -> tuple[str, Any]:
        return look(all[:-1], _number(all[-1], 1, 1e6) - 1)

    def on_next(*all: Any) -> tuple[str, Any]:
        return look(all[:-1], _number(all[-1], 1, 1e6) + 1)

    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    looked: dict[str, Any] = hidden | {"concurrency_limit": 4, "js": _CUT}
    wishes = [book, stage, domain, verdict, failure, words]
    for opened in (tab.select, book.input):
        opened(on_open, [book], [stage, domain], **hidden).then(on_wish, wishes, [board, where], **looked)
    for one in (stage.input, domain.input, verdict.input, failure.input, words.submit, words.blur):
        one(on_wish, wishes, [board, where], **looked)
    for one, what in ((where.submit, on_page), (back.click, on_back), (on.click, on_next)):
        one(what, [*wishes, where], [board, where], **looked)


def _wrong(texts: Mapping[str, tuple[Any, int]], needed: str) -> str:
    """What is wrong with what was typed, in words; nothing where nothing is."""
    for name, (text, most) in texts.items():
        if text is not None and not isinstance(text, str):
            return f"The {name} is not text."
        if len(text or "") > most:
            return f"The {name} is too long: it may have {most:,} characters."
        if name == needed and not (text or "").strip():
            return f"There is no {name} yet."
    return ""


def _number(value: Any, low: float, high: float) -> float:
    """A number from a form, within its bounds; the lower one for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return low
    return min(max(value, low), high)
