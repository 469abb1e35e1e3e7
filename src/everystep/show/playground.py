"""The playground's page and how it is served: models are asked, traces are checked, records are browsed.

The page is Gradio's; its pieces are made by `cards`, models are asked through `ask`. What comes in is bounded here.
It is served on this machine only unless told otherwise, and so that nothing can leave it.
"""

import json
import math
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everystep.core.trace import MAX_CHARS
from everystep.core.types import Sampling, Task
from everystep.show.ask import Model, ask
from everystep.show.cards import (
    ANY,
    FAILURES,
    VERDICT_NAMES,
    Book,
    Wish,
    answers,
    asked,
    browse,
    checked_trace,
    domains,
    heading,
    note,
    stages,
)
from everystep.show.checked import printable

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

    def slider(name: str, low: float, high: float, value: float, step: float, label: str, info: str) -> Any:
        return gr.Slider(low, high, value, step=step, label=label, info=info, elem_id=name, min_width=200)

    train = "A train travels 60 km in 1.5 hours. What is its average speed?"
    with gr.Row(equal_height=True):
        question = gr.Textbox(
            label="Question", lines=3, max_lines=10, scale=3, elem_id="question", placeholder=train
        )  # fmt: skip
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
            temperature = slider("temperature", 0, 1.5, 0, 0.1, "Temperature", "0: always the likeliest token")
            n = slider("samples", 1, limits.samples, 1, 1, "Samples", "of each model")
            tokens = slider("tokens", 32, limits.tokens, limits.usual, 16, "Tokens", "the most of one answer")
            other = "another one: other samples"
            seed = gr.Number(0, precision=0, minimum=0, label="Seed", info=other, elem_id="seed", min_width=200)
        every = list(models)
        names = gr.CheckboxGroup(every, value=every, label="Models", elem_id="models", visible=len(every) > 1)
    message = _html(name="message")
    board = _html(note("Choose an example or write a question, then press Ask (or Ctrl+Enter)."), "board")
    on_ask, on_stop = _answering(models, known, limits)
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [question, gold, temperature, n, tokens, seed, names]
    go.click(on_ask, inputs, [message, board], js=_CUT, concurrency_limit=AT_ONCE, **hidden)
    end.click(on_stop, None, None, queue=False, **hidden)
    # In the browser: an example is there before anybody can press a button. An answer that belongs to an
    # example leaves with its question.
    pairs = json.dumps([[task.question, task.answer] for task in known])
    examples.click(None, [examples], [question, gold], js=f"(i) => {pairs}[i] ?? ['', '']")
    leave = f"(q, a) => {pairs}.some((one) => one[1] === a && one[0] !== q) ? '' : a"
    question.input(None, [question, gold], [gold], js=leave)


def _answering(
    models: Mapping[str, Model], known: Sequence[Task], limits: Limits
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What happens when somebody asks, and when they press Stop. Each session has one question at a time."""
    import gradio as gr

    stops: dict[str, threading.Event] = {}

    def on_ask(
        question: Any, gold: Any, temperature: Any, n: Any, tokens: Any, seed: Any, names: Any, request: gr.Request
    ) -> Iterator[tuple[str, Any]]:
        if why := _wrong({"question": (question, QUESTION), "right answer": (gold, GOLD)}, "question"):
            yield note(why, wrong=True), gr.skip()
            return
        wanted = [model for name, model in models.items() if name in (names or ())]
        if not wanted:
            yield note("No model is chosen: see Sampling.", wrong=True), gr.skip()
            return
        sampling = Sampling(
            temperature=_number(temperature, 0, 1.5),
            max_tokens=int(_number(tokens, 1, limits.tokens)),
            seed=int(_number(seed, 0, 2**31)),
        )
        many = int(_number(n, 1, limits.samples))
        alike = many > 1 and sampling.temperature == 0
        many = 1 if alike else many
        said = note("At temperature 0 all samples are the same, so there is one." if alike else "")
        task, session = asked(question, gold or "", known), str(request.session_hash)
        stop = stops[session] = threading.Event()
        try:
            for replies in ask(wanted, task, many, sampling, limits.seconds, stop):
                yield said, answers(task, replies, many, sampling)
        finally:
            stop.set()
            if stops.get(session) is stop:
                del stops[session]

    def on_stop(request: gr.Request) -> None:
        if (stop := stops.get(str(request.session_hash))) is not None:
            stop.set()

    return on_ask, on_stop


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
        verdict = gr.Dropdown([ANY, *VERDICT_NAMES], value=ANY, label="Verdict", elem_id="r-verdict", min_width=130)
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


BODY = 200_000  # bytes of a request: everything that the page sends is far below
QUEUE = 24  # questions that may wait for a place
_LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")
_TEMPLATES = Path(__file__).parent / "templates"
# Gradio needs inline scripts and compiles templates. Handlers in attributes it does not need, and nothing may
# come from, or go to, anywhere but here.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval' 'unsafe-inline'",
        "script-src-attr 'none'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]

App = Callable[[MutableMapping[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def serve(page: Any, host: str, port: int | None) -> str:
    """Begin to serve a page (Gradio's `Blocks`), in threads of its own; its address. `port` None: 7860, or
    the next one that is free.

    Raises ValueError where the host or the port cannot be used.
    """
    from gradio.themes import Base, Font
    from starlette.middleware import Middleware

    own = [Font(name) for name in ("system-ui", "Segoe UI", "DejaVu Sans", "sans-serif")]
    mono = [Font(name) for name in ("ui-monospace", "DejaVu Sans Mono", "monospace")]
    style, script = ((_TEMPLATES / f"play.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    # Gradio looks whether its own page answers; a proxy has no part in that.
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (others, "127.0.0.1,localhost")))
    try:
        _, url, _ = page.queue(max_size=QUEUE, api_open=False).launch(
            server_name=host,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            enable_monitoring=False,
            run_history=False,
            max_file_size="1kb",
            footer_links=[],
            theme=_plain(Base(primary_hue="blue", neutral_hue="slate", font=own, font_mono=mono)),
            head=f"<style>{style}</style><script>{script}</script>",
            app_kwargs={
                "middleware": [Middleware(guarded, host in _LOCAL)],
                "docs_url": None,
                "redoc_url": None,
            },
        )
    except OSError as error:
        where = f"{host}:{port}" if port else host
        raise ValueError(f"{where}: cannot be used ({error}); give another --host or --port") from None
    return url


def _plain(theme: Any) -> Any:
    """The theme with one frame around what is written in, and none around that."""
    return theme.set(
        block_border_width="0px",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_padding="0px",
        block_info_text_size="*text_sm",
        input_border_width="1px",
        input_border_color="#8a94a0",
        input_border_color_dark="#6b7580",
        input_background_fill="#f5f7f9",
        input_background_fill_dark="#1d2125",
        layout_gap="1rem",
        body_background_fill="#ffffff",
        body_background_fill_dark="#14171a",
        background_fill_primary_dark="#14171a",
        background_fill_secondary_dark="#1d2125",
        border_color_primary_dark="#3a4149",
    )


def guarded(app: App, local: bool) -> App:
    """The application behind its limits: large requests are refused unread, and answers forbid the page to
    ask anybody else. `local`: only names of this machine are answered to, since a page from elsewhere could
    lead its visitor's browser here by another one."""

    async def guard(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        if local and headers.get("host", "").rsplit(":", 1)[0] not in _LOCAL:
            await _refuse(send, 421, "this playground is for its own machine only; see --host")
            return
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            length = headers.get("content-length", "")
            if not length.isdigit():
                await _refuse(send, 411, "a request must say how long it is")
                return
            if int(length) > BODY:
                await _refuse(send, 413, f"a request may have {BODY:,} bytes, this one has {int(length):,}")
                return

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await app(scope, receive, sent)

    return guard


async def _refuse(send: Any, status: int, why: str) -> None:
    body = json.dumps({"detail": why, "error": why}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
