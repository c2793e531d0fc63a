"""What a page of the studio is: a tab of components, and addresses of its own for gestures and pictures."""

from __future__ import annotations

import dataclasses
import html
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from plenish.errors import InputError, PlenishError
from plenish.progress import warn
from plenish.studio.catalogue import Catalogue
from plenish.studio.config import StudioConfig
from plenish.studio.sessions import Session, Sessions
from plenish.studio.uploads import FORMATS
from plenish.studio.wordbook import Words

Number = TypeVar("Number", int, float)


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answer of a page's own address.

    Attributes:
        content: its bytes.
        kind: its media type.
        name: the file name of a download; empty for what is shown.
        seconds: how long a browser may keep it.
    """

    content: bytes
    kind: str
    name: str = ""
    seconds: int = 0


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request to a page's own address.

    Attributes:
        session: whose it is.
        query: what stands behind the question mark; text from outside.
        words: the texts of the page that asks.
        body: the bytes of a POST.
    """

    session: Session
    query: Mapping[str, str]
    words: Words
    body: bytes = b""

    def text(self, name: str, default: str = "") -> str:
        """A word of the query, at most 200 letters."""
        return self.query.get(name, default)[:200]

    def integer(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number of the query.

        Raises:
            InputError: it is missing, no number, or outside the bounds.
        """
        return self._number(name, least, most, default, int, "a whole number", "d")

    def real(self, name: str, least: float, most: float, default: float | None = None) -> float:
        """A number of the query.

        Raises:
            InputError: it is missing, no number, or outside the bounds.
        """
        return self._number(name, least, most, default, float, "a number", "g")

    def _number(
        self, name: str, least: Number, most: Number, default: Number | None, kind: Callable[[str], Number],
        words: str, spec: str,
    ) -> Number:  # fmt: skip
        said = self.query.get(name)
        if said is None and default is not None:
            return default
        try:
            value = kind(said or "")
        except ValueError:
            raise InputError(f"'{name}' must be {words}.") from None
        if not least <= value <= most:  # Also of nan.
            raise InputError(f"'{name}' must be at least {least:{spec}} and at most {most:{spec}}.")
        return value


@dataclasses.dataclass(frozen=True)
class Studio:
    """What all pages of one server use; nothing in it belongs to a user.

    Attributes:
        config: the options.
        catalogue: the Runs and Datasets given.
        sessions: the users'.
        shared: one object of a class for all users, such as a loaded generator; use `once`.
    """

    config: StudioConfig
    catalogue: Catalogue
    sessions: Sessions
    shared: dict[type, Any] = dataclasses.field(default_factory=dict)
    _lock: Any = dataclasses.field(default_factory=threading.RLock)

    def once(self, kind: type[Any], make: Callable[[], Any]) -> Any:
        """The object of a class that all users share, made on first use; it must be read-only or locked."""
        with self._lock:
            if kind not in self.shared:
                self.shared[kind] = make()
            return self.shared[kind]


class Ui:
    """What a page builds its tab with, in one language.

    Attributes:
        gr: the module gradio.
        words: the texts of the page's language.
        studio: what all pages use.
    """

    def __init__(self, gr: Any, words: Words, studio: Studio) -> None:
        """Made by `app`."""
        self.gr, self.words, self.studio = gr, words, studio
        self.loads: list[tuple[Callable[..., Any], Sequence[Any]]] = []

    def on(
        self, events: Any, handler: Callable[..., Any], inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (), **how: Any,
    ) -> Any:  # fmt: skip
        """Call a handler on an event of a component: `ui.on(button.click, save, [name], [said])`.

        Args:
            events: an event, such as `button.click`, or several.
            handler: takes the user's `Session` and the values of the inputs; returns those of the outputs.
                Its InputError is shown as a message, anything else as an internal error.
            inputs: components.
            outputs: components.
            how: further arguments of Gradio's event, such as `show_progress="minimal"`.
        """
        made = None
        for event in events if isinstance(events, (list, tuple)) else [events]:
            made = event(**self.call(handler, inputs, outputs, **how))
        return made

    def call(
        self, handler: Callable[..., Any], inputs: Sequence[Any] = (), outputs: Sequence[Any] = (), **how: Any
    ) -> dict[str, Any]:
        """The same as arguments of a Gradio event: `ui.on(…).then(**ui.call(show, [name], [picture]))`."""
        chosen = {"api_visibility": "private", "queue": True, "show_progress": "hidden"} | how
        return {"fn": self._guarded(handler), "inputs": list(inputs), "outputs": list(outputs), **chosen}

    def load(self, handler: Callable[..., Any], outputs: Sequence[Any]) -> None:
        """Call a handler with the Session when the page opens, and show what it returns."""
        self.loads.append((handler, outputs))

    def _guarded(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """A handler as Gradio calls it."""
        gr, studio = self.gr, self.studio

        def call(*values: Any) -> Any:
            *given, request = values
            session = studio.sessions.of(request.request.scope["plenish.owner"])
            try:
                with session.lock:
                    return handler(session, *given)
            except PlenishError as error:
                raise gr.Error(
                    html.escape(str(error)), print_exception=False, title=self.words("studio.problem")
                ) from None
            except Exception as error:
                warn(f"internal error in the studio: {type(error).__name__}: {error}")
                raise gr.Error(
                    self.words("studio.internal"), print_exception=False, title=self.words("studio.problem")
                ) from None

        return _asking_for_request(call, gr)

    def html(self, value: str = "", **how: Any) -> Any:
        """A component of our own markup; texts from outside in it must be escaped (`html.escape`)."""
        return self.gr.HTML(value, **({"js_on_load": None, "apply_default_css": False} | how))

    def heading(self, key: str) -> None:
        """The title of a page and the sentence below it: the words KEY.title and KEY.lead."""
        title, lead = self.words(f"{key}.title"), self.words(f"{key}.lead")
        self.html(f'<div class="lead"><h2>{title}</h2><p>{lead}</p></div>')

    def nothing(self, sentence: str) -> None:
        """A tab that has nothing to show, and why."""
        self.html(f'<p class="nothing">{html.escape(sentence)}</p>')

    def upload(self, label: str) -> Any:
        """A button that takes a picture from the browser; its `change` event has the picture's id.

        The id is for `uploads.picture(session, id)`.
        """
        markup = (
            f'<label class="upload"><span>{html.escape(label)}</span>'
            f'<input type="file" accept="{",".join(f"image/{kind.lower()}" for kind in FORMATS)}"></label>'
            '<p class="upload-said" role="status"></p>'
        )
        script = "plenishUpload(element, (id) => { props.value = id; trigger('change'); });"
        return self.gr.HTML("", html_template=markup, js_on_load=script, apply_default_css=False)


def _asking_for_request(call: Callable[..., Any], gr: Any) -> Callable[..., Any]:
    """A function of any values that also gets the request, which Gradio gives by the type of a parameter."""

    def with_request(request: Any, *values: Any) -> Any:
        return call(*values, request)

    with_request.__annotations__["request"] = gr.Request
    return with_request


@dataclasses.dataclass(frozen=True)
class Page:
    """One page: a tab of the studio.

    Attributes:
        key: its name in words and addresses: the tab is called KEY.tab, its addresses are /-/KEY/NAME.
        build: makes the components of the tab.
        routes: NAME → what answers a GET, called in a thread of its own; `Asked` tells whose request it is.
        actions: NAME → what answers a POST, which may change the session.
    """

    key: str
    build: Callable[[Ui], None]
    routes: Mapping[str, Callable[[Studio, Asked], Reply]] = dataclasses.field(default_factory=dict)
    actions: Mapping[str, Callable[[Studio, Asked], Reply]] = dataclasses.field(default_factory=dict)


def names_of(studio: Studio) -> list[tuple[str, str]]:
    """The Datasets for a menu: name and id."""
    found = studio.catalogue.datasets
    names = [data.name for data in found.values()]
    return [
        (data.name if names.count(data.name) == 1 else f"{data.name} ({data.path.name})", key)
        for key, data in found.items()
    ]
