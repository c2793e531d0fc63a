"""The application: the pages as tabs, once a language, behind the guard."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from plenish.errors import InputError, PlenishError
from plenish.freed_memory import return_freed_memory
from plenish.progress import warn
from plenish.studio import uploads
from plenish.studio.config import Language
from plenish.studio.guard import OWNER, Guard
from plenish.studio.pages import Asked, Page, Studio, Ui
from plenish.studio.toolkit import blocks_class
from plenish.studio.wordbook import LANGUAGES, Words, preferred_language

PAGES = ("explore", "blend", "edit", "data", "runs", "judge")
"""The tabs from left to right: modules of plenish.studio, each with a PAGE."""
_ASSETS = Path(__file__).parent / "assets"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_SWEEP_SECONDS = 5.0
_SCRIPTS = ("studio", "latent", "explore", "blend", "edit", "data", "runs", "judge")
_HEAD = (
    '<link rel="icon" type="image/svg+xml" href="/-/assets/icon.svg">'
    '<link rel="stylesheet" href="/-/assets/studio.css">'
    + "".join(f'<script src="/-/assets/{name}.js"></script>' for name in _SCRIPTS)
)


def load_pages() -> list[Page]:
    """The pages, which load torch."""
    return [importlib.import_module(f"plenish.studio.{name}").PAGE for name in PAGES]


def build_blocks(gr: Any, words: Words, studio: Studio, pages: Sequence[Page]) -> Any:
    """All pages as one Gradio application in one language.

    Args:
        gr: the module gradio.
        words: the texts.
        studio: what the pages use.
        pages: the tabs.
    """
    ui = Ui(gr, words, studio)
    with blocks_class(gr, words)(
        title=words("studio.title"), analytics_enabled=False, fill_width=True, delete_cache=(60, 60)
    ) as blocks:
        ui.html(_header(words), elem_classes="studio-header")
        with gr.Tabs(elem_id="pages"):
            for page in pages:
                with gr.Tab(words(f"{page.key}.tab"), id=page.key, elem_id=f"page-{page.key}"):
                    page.build(ui)
        ui.html(f'<p class="use">{words("studio.use")}</p>', elem_classes="studio-footer")
        _follow_pages(gr, blocks, studio)
        for handler, outputs in ui.loads:
            ui.on(blocks.load, handler, (), outputs)
    return blocks


def _header(words: Words) -> str:
    links = "".join(
        f'<a href="/{code}/" lang="{code}" hreflang="{code}" data-language="{code}"'
        f"{' aria-current=true' if code == words.language else ''}>{name}</a>"
        for code, name in LANGUAGES.items()
    )
    return (
        f'<header><h1>{words("studio.title")}</h1><nav aria-label="{words("studio.language")}">{links}</nav>'
        f"</header>"
    )


def _follow_pages(gr: Any, blocks: Any, studio: Studio) -> None:
    """Know which pages of a session are open; Gradio's own memory of a closed one is freed at once."""

    def opened(request: Any) -> None:
        studio.sessions.page_opened(request.request.scope[OWNER], str(request.session_hash))

    def closed(request: Any) -> None:
        studio.sessions.page_closed(request.request.scope[OWNER], str(request.session_hash))

    opened.__annotations__["request"] = gr.Request
    closed.__annotations__["request"] = gr.Request
    blocks.load(opened, None, None, api_visibility="private", show_progress="hidden")
    blocks.unload(closed)


def build_app(gr: Any, studio: Studio, port: int) -> Guard:
    """The whole server as an ASGI application.

    Args:
        gr: the module gradio (`toolkit.load_gradio`).
        studio: what the pages use.
        port: where it listens.
    """
    from fastapi import FastAPI

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        stop = threading.Event()
        threading.Thread(target=_sweep, args=(studio, stop), daemon=True).start()
        yield
        stop.set()
        studio.sessions.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    pages = load_pages()
    _own_routes(app, studio, pages)
    theme = our_theme(gr)
    for language in LANGUAGES:
        blocks = build_blocks(gr, Words(language), studio, pages)
        gr.mount_gradio_app(
            app, blocks, path=f"/{language}", footer_links=[], run_history=False, allowed_paths=[],
            blocked_paths=["/"], show_error=True, max_file_size=1, ssr_mode=False, enable_monitoring=False,
            pwa=False, mcp_server=False, theme=theme, server_name=studio.config.host, server_port=port,
        )  # fmt: skip
        _refuse_what_gradio_cannot_read(app.routes[-1].app)
    return Guard(_Dressed(app), studio.config, studio.sessions, port)


def _refuse_what_gradio_cannot_read(app: Any) -> None:
    """Refuse a request for an event that there is not, or with other values, as the client's fault."""
    from fastapi.responses import Response

    async def refuse(*_: Any) -> Any:
        return Response("This request cannot be read.", 400, media_type="text/plain")

    for kind in (LookupError, ValueError, TypeError, AttributeError):
        app.add_exception_handler(kind, refuse)


def _sweep(studio: Studio, stop: threading.Event) -> None:
    while not stop.wait(_SWEEP_SECONDS):
        studio.sessions.sweep()
        return_freed_memory()


def _own_routes(app: Any, studio: Studio, pages: Sequence[Page]) -> None:
    """The first page, assets, what a session keeps, uploads, and the addresses of the pages."""
    from fastapi import Request
    from fastapi.responses import RedirectResponse, Response
    from starlette.concurrency import run_in_threadpool

    async def index(request: Any) -> Any:
        chosen = studio.config.language or preferred_language(request.headers.get("accept-language", ""))
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/{chosen}/{query}", 307)

    async def asset(name: str) -> Any:
        kind = _KINDS.get(Path(name).suffix)
        known = {path.name: path for path in _ASSETS.iterdir()}
        if kind is None or name not in known:
            return Response("There is nothing here.", 404)
        return Response(known[name].read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})

    async def favicon() -> Any:
        return await asset("icon.svg")

    async def medium(key: str, request: Any) -> Any:
        def answer() -> Any:
            found = studio.sessions.of(request.scope[OWNER]).medium(key)
            return _response(Response, found.content, found.kind, found.name, 3600)

        return await _guarded_answer(run_in_threadpool, Response, answer)

    async def upload(request: Any) -> Any:
        content = await request.body()

        def answer() -> Any:
            session = studio.sessions.of(request.scope[OWNER])
            with session.lock:
                return Response(uploads.take(session, content, studio.config), media_type="text/plain")

        return await _guarded_answer(run_in_threadpool, Response, answer)

    async def page(key: str, name: str, request: Any) -> Any:
        own = next((page for page in pages if page.key == key), None)
        answers = None if own is None else own.routes if request.method == "GET" else own.actions
        found = (answers or {}).get(name)
        if found is None:
            return Response("There is nothing here.", 404)
        body, query = await request.body(), dict(request.query_params)
        language: Language = "es" if query.get("lang") == "es" else "en"

        def answer() -> Any:
            session = studio.sessions.of(request.scope[OWNER])
            with session.lock:
                reply = found(studio, Asked(session, query, Words(language), body))
            return _response(Response, reply.content, reply.kind, reply.name, reply.seconds)

        return await _guarded_answer(run_in_threadpool, Response, answer)

    for function in (index, medium, upload, page):
        function.__annotations__["request"] = Request
    app.get("/")(index)
    app.get("/favicon.ico")(favicon)
    app.get("/-/assets/{name}")(asset)
    app.get("/-/media/{key}")(medium)
    app.post("/-/upload")(upload)
    app.api_route("/-/{key}/{name}", methods=["GET", "POST"])(page)


async def _guarded_answer(run: Callable[..., Any], response: Any, answer: Callable[[], Any]) -> Any:
    """What `answer` gives, or one sentence why not."""
    try:
        return await run(answer)
    except InputError as error:
        return response(str(error), 404 if error.code == "missing" else 400, media_type="text/plain")
    except PlenishError as error:
        return response(str(error), 400, media_type="text/plain")
    except Exception as error:
        warn(f"internal error in the studio: {type(error).__name__}: {error}")
        return response("Internal error; the terminal of the studio says more.", 500, media_type="text/plain")


def _response(response: Any, content: bytes, kind: str, name: str, seconds: int) -> Any:
    headers = {"cache-control": f"private, max-age={seconds}" if seconds else "no-store"}
    if name:
        headers["content-disposition"] = _attachment(name)
    return response(content, media_type=kind, headers=headers)


def _attachment(name: str) -> str:
    """The header of a file that is downloaded under a name of any letters, RFC 6266."""
    name = "".join(letter if letter.isprintable() else "_" for letter in name)
    plain = "".join(letter if letter.isascii() and letter not in '"\\%' else "_" for letter in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class _Dressed:
    """Gradio's page with our style sheet and script in it from the start, and its language told."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        language = scope.get("path", "").strip("/")
        if scope["type"] != "http" or language not in LANGUAGES:
            await self._app(scope, receive, send)
            return
        start: list[Any] = []

        async def dressed(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
                return
            if start:  # The page comes in one piece.
                body = message.get("body", b"").replace(b'lang="en"', f'lang="{language}"'.encode(), 1)
                message = {**message, "body": body.replace(b"</head>", _HEAD.encode() + b"</head>", 1)}
                first = start.pop()
                kept = [pair for pair in first["headers"] if pair[0].lower() != b"content-length"]
                length = (
                    [] if message.get("more_body") else [(b"content-length", b"%d" % len(message["body"]))]
                )
                await send({**first, "headers": [*kept, *length]})
            await send(message)

        await self._app(scope, receive, dressed)


def our_theme(gr: Any) -> Any:
    """Colours and fonts as variables of Gradio; the fonts are those of the system, none is fetched."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Liberation Mono", "monospace"]
    theme = gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", font=system, font_mono=mono, radius_size="sm"
    )
    return theme.set(
        body_background_fill="#f6f7f8", body_background_fill_dark="#14181c", block_border_width="0px",
        block_shadow="none", block_background_fill="transparent", block_background_fill_dark="transparent",
        button_primary_background_fill="#0f766e", button_primary_background_fill_hover="#115e59",
        button_primary_text_color="#ffffff", button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover_dark="#115e59", body_text_color="#1f2933",
        body_text_color_subdued="#52606d", body_text_color_subdued_dark="#b3bec9",
        block_label_text_color="#3e4c59",
        block_title_text_color="#3e4c59", block_info_text_color="#52606d",
        block_info_text_color_dark="#b3bec9",
        button_primary_text_color_dark="#ffffff", input_background_fill="#ffffff", input_border_width="1px",
        input_border_color="#b6c1cc", input_background_fill_dark="#1d2329", input_border_color_dark="#4a5763",
        input_border_width_dark="1px",
    )  # fmt: skip
