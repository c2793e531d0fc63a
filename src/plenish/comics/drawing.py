"""Pages of a comic, drawn: scenes, figures, captions, balloons, borders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from plenish.comics.cast import Cast
from plenish.comics.layout import Box, page_size, pixels, place_panels
from plenish.comics.lettering import Letters, Placed, draw, letter_sizes, place_balloon, place_caption
from plenish.comics.script import Panel, Row, Script
from plenish.datasets.detectors import detect
from plenish.datasets.rejections import Unreadable
from plenish.errors import InputError


@dataclasses.dataclass(frozen=True)
class Drawer:
    """Draws the pages of a script.

    Attributes:
        script: the script.
        cast: the pictures.
        letters: the font.
        detector: name of a face detector, or None.
        pixelated: enlarge pictures without smoothing.
    """

    script: Script
    cast: Cast
    letters: Letters
    detector: str | None = None
    pixelated: bool = False

    def page(self, number: int) -> tuple[Image.Image, dict[str, Any]]:
        """A page, RGB with its bleed, and what is on it, JSON-able.

        Raises:
            InputError: a picture cannot be made, or a text finds no room.
        """
        paper = self.script.page
        rows: tuple[Row, ...] = self.script.pages[number]
        page = Image.new("RGB", page_size(paper), paper.background)
        places = {id(panel): f"pages[{number}].rows[{i}].panels[{j}]"
                  for i, row in enumerate(rows) for j, panel in enumerate(row.panels)}  # fmt: skip
        panels = []
        line = pixels(paper.border, paper.dpi)
        for panel, box in place_panels(rows, paper):
            where = places[id(panel)]
            if min(box.width, box.height) < 16:
                raise InputError(f"{where} is {box.width}×{box.height} pixels; give it more room.")
            made, record = self._panel(panel, box, where)
            page.paste(made, (box.left, box.top))
            if line:
                edge = (
                    box.left - line // 2,
                    box.top - line // 2,
                    box.right + line // 2,
                    box.bottom + line // 2,
                )
                ImageDraw.Draw(page).rectangle(edge, outline="black", width=line)
            panels.append({"box": list(box.corners), **record})
        return page, {"panels": panels}

    def _panel(self, panel: Panel, box: Box, where: str) -> tuple[Image.Image, dict[str, Any]]:
        first = len(self.cast.records)
        picture = Image.new("RGB", (box.width, box.height), panel.background)
        if panel.scene is not None:
            picture.paste(self._covering(self.cast.scene(panel.scene), picture.size))
        figures = self._figures(panel, picture)
        faces = self._faces(picture)
        sizes = letter_sizes(self.script.lettering, self.script.page.dpi)
        placed: list[Placed] = []
        if panel.caption.strip():
            text = self.letters.prepared(panel.caption, f"{where}.caption")
            placed.append(place_caption(text, self.letters, sizes, picture.size, f"{where}.caption"))
        before: Box | None = None
        for i, balloon in enumerate(panel.balloons):
            place = f"{where}.balloons[{i}]"
            speaker = figures.get(balloon.by)
            if speaker is not None:
                own = [face for face in faces if speaker.overlap(face)]
                speaker = max(own, key=speaker.overlap, default=speaker)
            one = place_balloon(
                self.letters.prepared(balloon.text, place), balloon.kind, self.letters, sizes,  # type: ignore[arg-type]
                picture.size, taken=[other.box for other in placed], faces=faces,
                figures=list(figures.values()), speaker=speaker, before=before,
                rightwards=self.script.page.reading == "left-to-right", where=place,
            )  # fmt: skip
            before = one.box
            placed.append(one)
        line = max(1, pixels(0.35, self.script.page.dpi))
        for one in placed:
            draw(picture, one, self.letters, line)
        return picture, {
            "pictures": self.cast.records[first:], "texts": [one.record() for one in placed],
            "faces": [list(face.corners) for face in faces],
        }  # fmt: skip

    def _figures(self, panel: Panel, picture: Image.Image) -> Mapping[str, Box]:
        """Put the characters side by side, on the lower edge; where each is."""
        places: dict[str, Box] = {}
        slot = picture.width / max(1, len(panel.characters))
        for i, part in enumerate(panel.characters):
            figure = self.cast.character(part)
            scale = min(part.height * picture.height / figure.height, 0.94 * slot / figure.width)
            size = max(1, round(figure.width * scale)), max(1, round(figure.height * scale))
            figure = self._resized(figure, size)
            left, top = round((i + 0.5) * slot - size[0] / 2), picture.height - size[1]
            picture.paste(figure, (left, top), figure)
            places[part.name] = Box(left, top, left + size[0], top + size[1])
        return places

    def _faces(self, picture: Image.Image) -> list[Box]:
        if self.detector is None:
            return []
        try:
            found = detect(self.detector, np.asarray(picture))
        except Unreadable as error:
            raise InputError(f"--detector {self.detector} fails on a panel: {error}.") from None
        return [Box(*(round(value) for value in row[:4])) for row in found]

    def _covering(self, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        """A picture enlarged until it covers a size, and cut to it around its middle."""
        scale = max(size[0] / picture.width, size[1] / picture.height)
        large = max(size[0], round(picture.width * scale)), max(size[1], round(picture.height * scale))
        left, top = (large[0] - size[0]) // 2, (large[1] - size[1]) // 2
        return self._resized(picture, large).crop((left, top, left + size[0], top + size[1]))

    def _resized(self, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        if picture.mode == "RGBA" and not self.pixelated:
            # Colours weigh by their opacity, so that the ground does not show at the rim.
            return picture.convert("RGBa").resize(size, Image.Resampling.BICUBIC).convert("RGBA")
        how = Image.Resampling.NEAREST if self.pixelated else Image.Resampling.BICUBIC
        return picture.resize(size, how)
