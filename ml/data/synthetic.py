"""Draw synthetic pictures of the four classes, with numpy and Pillow only.

They are for smoke tests: they show that training and serving work end to end, and that a network
can learn the four shapes. They do not predict the accuracy on real photos. Skies, picture sizes and
object sizes have the same distribution for all classes, so only the object shows the class.
"""

from math import cos, radians, sin
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter

CLASSES = ("Flying Birds", "Large QuadCopters", "Small QuadCopters", "Winged Drones")

Floats = NDArray[np.float64]


def _palette(names: str) -> Floats:
    return np.array([ImageColor.getrgb(f"#{name}") for name in names.split()], dtype=float)


ZENITHS = _palette("3a70be 6096d6 969ea8 c6cace 5c6896 404e80")
HORIZONS = _palette("b0cee8 cee0ee d0d4d8 e2e4e6 f0aa6e c68884")
PLUMAGES = _palette("282422 564230 787470 ece8e0")
CARBON = _palette("222428 3e4046 606266 dededc")
PAINTS = _palette("eeeeec c4c8cc 8a9096 e25c28 c6282c 306ec8 82be3c c4b088 46484e")
# Angle of the wing at the body, and by how much it changes up to the tip, in degrees.
FLAPS = np.array(((50, -35), (12, -25), (-12, -45), (14, -8)))
# Leading edge, chord, span, sweep, tip chord and rise of straight, swept and delta wings.
STRAIGHT, SWEPT = (0.2, 0.3, 1.3, 0.05, 0.2, 0.08), (0.4, 0.4, 1.2, 0.55, 0.2, 0.08)
WINGS = np.array((STRAIGHT, SWEPT, (0.6, 1, 0.85, 0.9, 0.1, 0)))
UP = np.array((0, 0, 1.0))


def synthesize(folder: Path, images_per_class: int = 100, seed: int = 0) -> None:
    """Write `folder/<class>/<slug>-0001.jpg` and so on, and the objects' boxes to `index.csv`."""
    index = ["file,x0,y0,x1,y1"]
    for number, label in enumerate(CLASSES):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(1, images_per_class + 1):
            # With a seed of its own, image i does not depend on how many images are drawn.
            image, box = draw(label, np.random.default_rng((seed, number, i)))
            file = f"{label}/{label.lower().replace(' ', '-')}-{i:04}.jpg"
            image.save(folder / file, quality=88)
            index.append(",".join((file, *map(str, box))))
    (folder / "index.csv").write_text("\n".join(index) + "\n", encoding="utf-8", newline="\n")


def draw(label: str, rng: np.random.Generator) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Draw a picture of class `label`; return it and its object's box in pixels."""
    width, height = (int(side) for side in rng.integers(180, 421, size=2))
    # Skies have no detail: half the size looks the same and takes a quarter of the time.
    picture = sky(width // 2, height // 2, rng).resize((width, height))
    flyer = _draw_object(label, min(width, height) * rng.uniform(0.32, 0.62), rng)
    # The object is near the middle, as in most photos, so that a centre crop shows most of it.
    reach = 0.9 * min(width, height)
    room = np.maximum(reach - np.array(flyer.size), 2) / 2
    middle = (np.array(picture.size) - flyer.size) / 2
    x, y = (int(place) for place in middle + rng.uniform(-room, room))
    box = (x, y, x + flyer.width, y + flyer.height)
    picture.paste(_add_light(flyer, picture.crop(box), rng), (x, y), flyer)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9))))
    return to_image(soft + rng.standard_normal(soft.shape, np.float32) * rng.uniform(1, 5)), box


def sky(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw a sky with clouds, and in some pictures the ground."""
    zenith, horizon = rng.choice(np.stack((ZENITHS, HORIZONS), axis=1)) * rng.uniform(0.75, 1.08)
    tilt = np.linspace(-0.15, 0.15, width) * rng.uniform(-1, 1)
    depth = np.clip(np.linspace(0, 1, height)[:, None] + tilt, 0, 1)[..., None]
    sky: Floats = zenith + (horizon - zenith) * depth
    cover = np.full((height, width), rng.uniform(-0.6, 0.1))
    for cells, weight in ((3, 0.6), (6, 0.3), (13, 0.15)):
        grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        cover += weight * np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
    cloud = horizon * 0.35 + 255 * rng.uniform(0.45, 0.65)
    sky += (cloud - sky) * np.clip(cover, 0, 1)[..., None] * rng.uniform(0.3, 0.9)
    if rng.random() < 0.4:
        _raise_ground(sky, rng)
    return to_image(sky)


def _raise_ground(sky: Floats, rng: np.random.Generator) -> None:
    height, width, _ = sky.shape
    knots = int(rng.choice((3, 6, 50)))  # hills, rolling ground or a line of trees
    relief = rng.uniform(-0.03, 0.03, knots) + rng.uniform(0.05, 0.18)
    profile = np.interp(np.linspace(0, 1, width), np.linspace(0, 1, knots), relief)
    cover = np.clip(np.arange(height)[:, None] - height * (1 - profile), 0, 1)[..., None]
    earth = np.array((62, 74, 48)) * rng.uniform(0.4, 1.3) + rng.uniform(-10, 10, 3)
    sky += (earth - sky) * cover * rng.uniform(0.6, 1)


def _draw_object(label: str, longest: float, rng: np.random.Generator) -> Image.Image:
    paint = dict(zip(CLASSES, (_flock, _large_copter, _small_copter, _winged), strict=True))[label]
    sketch = Sketch(int(longest * 4), rng)
    paint(sketch, rng)
    flyer = sketch.image.crop(sketch.image.getbbox())
    flyer.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return flyer


def _add_light(flyer: Image.Image, behind: Image.Image, rng: np.random.Generator) -> Image.Image:
    sky = np.asarray(behind, dtype=float).mean(axis=(0, 1))
    pixels = np.asarray(flyer, dtype=float)
    colours = pixels[..., :3] * rng.uniform(0.7, 1.1)
    if (abs(colours[pixels[..., 3] > 200].mean(axis=1) - sky.mean()) < 40).mean() > 0.2:
        # It would be hard to see: make it darker than a bright sky, brighter than a dark one.
        colours = colours * 0.55 + (0 if sky.mean() > 90 else 110)
    return to_image(colours + (sky - colours) * rng.uniform(0, 0.2))


def to_image(pixels: Floats) -> Image.Image:
    """Clip RGB values to 0..255 and make a picture of them."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


class Sketch:
    """A drawing of parts in 3-D (x right, y forward, z up); later parts cover earlier ones."""

    def __init__(self, side: int, rng: np.random.Generator) -> None:
        self.image = Image.new("RGBA", (side, side))
        self.from_below = rng.random() < 0.75
        self._pen, self._unit = ImageDraw.Draw(self.image), side / 3.6
        lift = radians(rng.uniform(-65, -22) if self.from_below else rng.uniform(18, 45))
        turn, bank = radians(rng.uniform(0, 360)), radians(rng.normal(0, 12))
        turned = np.array(((cos(turn), -sin(turn), 0), (sin(turn), cos(turn), 0), (0, 0, 1)))
        seen = np.array(((1, 0, 0), (0, -sin(lift), -cos(lift))))
        self._view = np.array(((cos(bank), -sin(bank)), (sin(bank), cos(bank)))) @ seen @ turned

    def face(self, points: ArrayLike, colour: Floats, alpha: int = 255) -> None:
        """Draw a filled polygon."""
        self._pen.polygon(self._project(points), fill=(*colour.astype(int), alpha))

    def bar(self, points: ArrayLike, width: float, colour: Floats) -> None:
        """Draw a line of the given width along `points`."""
        thick = round(width * self._unit)
        self._pen.line(self._project(points), tuple(colour.astype(int)), thick, joint="curve")

    def loft(self, spine: ArrayLike, radii: ArrayLike, colour: Floats) -> None:
        """Draw a round body along `spine`, lit from above."""
        steps, knots = np.linspace(0, 1, 40), np.linspace(0, 1, np.size(radii))
        x, y, z, thick = (np.interp(steps, knots, row) for row in np.c_[spine, radii].T)
        for tint, share in ((colour * 0.7, 1.0), (colour, 0.65)):
            centres = self._project(np.c_[x, y, z + thick * (1 - share)])
            for centre, radius in zip(centres, thick * share * self._unit, strict=True):
                self._pen.circle(centre, radius, fill=tuple(tint.astype(int)))

    def block(self, outline: Floats, low: float, high: float, colour: Floats) -> None:
        """Draw an upright block as a stack of plates; the nearest plate is brighter."""
        plates = np.linspace(low, high, 12)[:: -1 if self.from_below else 1]
        for z, tint in zip(plates, [0.7] * 11 + [1], strict=True):
            self.face(outline + z * UP, colour * tint)

    def _project(self, points: ArrayLike) -> list[tuple[float, float]]:
        flat = np.asarray(points) @ self._view.T * self._unit + self.image.width / 2
        return [(x, y) for x, y in flat.tolist()]


def _flock(sketch: Sketch, rng: np.random.Generator) -> None:
    plumage = rng.choice(PLUMAGES)
    for size in (1, *rng.uniform(0.35, 0.5, rng.choice((0, 0, 0, 1, 2)))):
        place = rng.choice((-1, 1), 3) * (0.8, 0.7, 0.3) * (size < 1)
        _bird(sketch, place, size, plumage, rng)


def _bird(s: Sketch, at: Floats, size: float, plumage: Floats, rng: np.random.Generator) -> None:
    rise, bend = rng.choice(FLAPS)
    t = np.linspace(0, 1, 15)
    slope = np.radians(rise + rng.normal(0, 5) + bend * t)
    across, up = np.cumsum(np.cos(slope)) / 15, np.cumsum(np.sin(slope)) / 15
    front = 0.12 + 0.2 * np.sin(np.pi * t**0.8) - rng.uniform(0.1, 0.5) * t**2
    feathers = 1 + 0.3 * np.where(t > 0.5, np.arange(15) % 2, 0)
    back = front - rng.uniform(0.3, 0.45) * (1 - 0.75 * t**2) * feathers
    for side, tint in ((-1, 0.8), (1, 0.95)):
        lead, trail = (at + size * np.c_[side * across, y, up] for y in (front, back))
        s.face(np.r_[lead, trail[::-1]], plumage * tint)
        s.face(np.r_[lead[9:], trail[:8:-1]], plumage * tint * 0.7)
    tail = np.array(((0, -0.2, 0), (-1, -0.7, 0), (1, -0.7, 0))) * (rng.uniform(0.1, 0.25), 1, 1)
    s.face(at + size * tail, plumage * 0.85)
    radii = np.array((0.03, 0.09, 0.13, 0.14, 0.1, 0.08, 0.01))
    s.loft(at + size * np.linspace((0, -0.4, 0), (0, 0.6, 0.03), 7), size * radii, plumage)


def _circle(corners: int, radius: float) -> Floats:
    angle = (np.arange(corners) + 0.5) * 2 * np.pi / corners
    return np.stack((np.cos(angle), np.sin(angle), 0 * angle), axis=1) * radius


def _rotors(sketch: Sketch, motors: Floats, reach: float, boom: float, colour: Floats) -> None:
    for hub in motors + boom * UP:
        sketch.face(hub + _circle(28, reach), CARBON[2], 90)
    for number, motor in enumerate(motors):
        blades = _circle(8, reach)[[number % 4, number % 4 + 4]]
        sketch.bar(motor + boom * UP + blades, 0.03, CARBON[1])
        sketch.bar((motor * 0, motor), boom, colour)
        sketch.block(motor + _circle(10, boom), -boom, boom, colour * 0.7)


def _large_copter(sketch: Sketch, rng: np.random.Generator) -> None:
    frame, shell = rng.choice(CARBON[:3]), rng.choice(CARBON)
    arms = int(rng.choice((4, 6, 8)))
    _rotors(sketch, _circle(arms, 1) + 0.1 * UP, 1.8 / (arms + 0.5), 0.12, frame)
    hub = _circle(max(arms, 6), rng.uniform(0.3, 0.4))
    sketch.block(hub, -0.1, 0.16, shell)
    drop = -rng.uniform(0.55, 0.8)
    for x in (-0.5, 0.5):
        legs = ((x / 2, -0.2, -0.1), (x, -0.26, drop), (x, 0.26, drop), (x / 2, 0.2, -0.1))
        sketch.bar(legs, 0.05, frame * 0.8)
        sketch.bar(((x, -0.5, drop), (x, 0.5, drop)), 0.07, frame * 0.8)
    length = rng.choice((0.05, 0.3))  # a round camera or a long tank
    sketch.loft(((0, -length, -0.28), (0, length, -0.28)), (0.17, 0.17), rng.choice(PAINTS))
    if not sketch.from_below:  # seen from above, the hub covers the parts below it
        sketch.block(hub, -0.1, 0.16, shell)


def _small_copter(sketch: Sketch, rng: np.random.Generator) -> None:
    shell, trim = rng.choice(PAINTS, 2)
    stretch, reach = np.array((1, rng.uniform(0.9, 1.25), 1)), rng.uniform(0.3, 0.4)
    motors = _circle(4, rng.uniform(0.75, 0.9)) * stretch + 0.08 * UP
    _rotors(sketch, motors, reach, 0.07, shell * 0.85)
    guarded, glowing = rng.random(2) < 0.4
    for motor, glow in zip(motors, PAINTS[[6, 6, 4, 4]], strict=True):
        if guarded:
            sketch.bar(motor + _circle(28, reach + 0.05)[np.arange(29) % 28], 0.05, trim)
        if glowing:
            sketch.loft((motor, motor), (0.06, 0.06), glow)
    body = np.linspace((0, -0.42, 0), (0, 0.46, 0), 5) * stretch
    sketch.loft(body, (0.13, 0.21, 0.24, 0.21, 0.13), shell)
    sketch.loft(body[-1] + np.array(((0, 0.04, -0.06), (0, 0.1, -0.06))), (0.08, 0.06), CARBON[0])


def _winged(sketch: Sketch, rng: np.random.Generator) -> None:
    skin, trim = rng.choice(PAINTS, 2)
    wing = _panel(rng.choice(WINGS) * rng.uniform(0.9, 1.1, 6))
    tail_rise = rng.choice((0, 0.3, -0.3))  # flat, V or inverted V
    tail = _panel(np.array((-0.4, 0.28, 0.38, 0.14, 0.18, tail_rise)))
    tails = [tail, tail * (-1, 1, 1), *([] if tail_rise else [tail[:, (2, 1, 0)]])]
    sketch.face((0, -0.72, 0) + _circle(24, 0.2)[:, (0, 2, 1)], CARBON[2], 110)
    for part in tails:
        sketch.face(part, trim * 0.85)
    for side, tint in ((-1, 0.85), (1, 1)):
        sketch.face(wing * (side, 1, 1), skin * tint)
        painted_tip = np.r_[0.3 * wing[[0, 3]] + 0.7 * wing[[1, 2]], wing[[2, 1]]]
        sketch.face(painted_tip * (side, 1, 1), trim * tint)
    sketch.loft(np.linspace((0, -0.7, 0), (0, 0.72, 0), 5), (0.05, 0.1, 0.13, 0.11, 0.03), skin)


def _panel(measures: Floats) -> Floats:
    lead, chord, span, sweep, tip, rise = measures
    x, y = (0, span, span, 0), (lead, lead - sweep, lead - sweep - tip, lead - chord)
    return np.array((x, y, (0, rise, rise, 0)), dtype=float).T
