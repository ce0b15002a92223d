"""Draw the pictures of a made-up recording: slate, scenes with a lower third, credits."""

from __future__ import annotations

import math
import random
from functools import cache

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 640, 360
Colour = tuple[int, int, int]

# Sky or wall above, sky or wall below, ground, the thing that moves. Scenes that follow one another take palettes that
# do, far apart in hue and brightness; the even ones are bright, so that none follows a dark slate unseen.
PALETTES: list[tuple[Colour, Colour, Colour, Colour]] = [
    ((96, 156, 220), (214, 232, 246), (58, 122, 52), (250, 222, 96)),
    ((24, 14, 38), (64, 30, 70), (16, 12, 24), (230, 150, 60)),
    ((206, 174, 126), (236, 214, 180), (120, 70, 40), (40, 70, 120)),
    ((10, 40, 52), (30, 88, 96), (8, 24, 30), (220, 90, 90)),
    ((226, 120, 70), (250, 200, 120), (90, 30, 50), (255, 244, 214)),
    ((48, 70, 48), (104, 132, 92), (28, 40, 28), (216, 216, 190)),
]


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The scalable font that ships inside Pillow, so that a machine without fonts can draw too."""
    loaded = ImageFont.load_default(size=size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType; the wheels on PyPI have it")
    return loaded


def slate(lines: list[tuple[str, str]]) -> Image.Image:
    """The slate: one line for each label and value, white on dark blue, with a frame."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (18, 22, 58))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((14, 14, WIDTH - 15, HEIGHT - 15), outline=(200, 200, 210), width=2)
    step = (HEIGHT - 60) // len(lines)
    for row, (label, value) in enumerate(lines):
        top = 34 + row * step
        pen.text((34, top), label, font=font(22), fill=(170, 180, 200))
        pen.text((190, top), value, font=font(24), fill=(255, 255, 255))
    return picture


@cache
def backdrop(palette: int) -> Image.Image:
    """A vertical gradient over a ground, without anything that moves."""
    above, below, ground, _ = PALETTES[palette]
    picture = Image.new("RGB", (1, HEIGHT))
    horizon = HEIGHT * 2 // 3
    for y in range(HEIGHT):
        share = min(y / horizon, 1)
        mixed = [round(a + (b - a) * share) for a, b in zip(above, below, strict=True)]
        picture.putpixel((0, y), (mixed[0], mixed[1], mixed[2]) if y < horizon else ground)
    return picture.resize((WIDTH, HEIGHT))


def scene(palette: int, seed: int, seconds: float) -> Image.Image:
    """One picture of a scene: hills, a few discs that drift, `seconds` after the scene's start."""
    palette %= len(PALETTES)
    chance = random.Random(seed)
    picture = backdrop(palette).copy()
    pen = ImageDraw.Draw(picture)
    _, _, ground, accent = PALETTES[palette]
    for _ in range(3):
        centre, height, width = chance.randint(0, WIDTH), chance.randint(30, 110), chance.randint(120, 260)
        base = HEIGHT * 2 // 3
        pen.polygon([(centre - width, base), (centre, base - height), (centre + width, base)], fill=ground)
    for _ in range(4):
        x, y, size = chance.randint(0, WIDTH), chance.randint(40, HEIGHT - 80), chance.randint(10, 34)
        pace, phase = chance.uniform(8, 30), chance.uniform(0, 6)
        x = round((x + pace * seconds) % WIDTH)
        y = round(y + 10 * math.sin(phase + 2 * seconds))
        pen.ellipse((x - size, y - size, x + size, y + size), fill=accent)
    return picture


def lower_third(picture: Image.Image, name: str, role: str) -> Image.Image:
    """The chyron: a person's name and role on a band over the lower part of a picture."""
    pen = ImageDraw.Draw(picture)
    pen.rectangle((40, HEIGHT - 96, 420, HEIGHT - 36), fill=(20, 20, 26))
    pen.rectangle((40, HEIGHT - 96, 48, HEIGHT - 36), fill=(214, 60, 50))
    pen.text((62, HEIGHT - 92), name, font=font(26), fill=(255, 255, 255))
    pen.text((62, HEIGHT - 60), role, font=font(16), fill=(210, 210, 216))
    return picture


def credit_roll(lines: list[str], seconds: float) -> Image.Image:
    """The credits, rolling upwards over black."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 0))
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        y = HEIGHT // 2 - 40 + row * 40 - 24 * seconds
        pen.text((WIDTH / 2, y), line, font=font(22), fill=(240, 240, 240), anchor="mm")
    return picture
