"""How the playground's page is served: on this machine only unless told otherwise, and so that nothing can
leave it.

What is on the page is `playground`.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

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
