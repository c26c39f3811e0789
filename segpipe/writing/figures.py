"""What stands in a street: buildings, trees, posts, vehicles and people, each painted from its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segpipe.writing.painting import Numbers, Painter, box, disc, extruded

(
    ROAD,
    SIDEWALK,
    BUILDING,
    WALL,
    FENCE,
    POLE,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    VEGETATION,
    TERRAIN,
    SKY,
    PERSON,
    RIDER,
    CAR,
    TRUCK,
    BUS,
    TRAIN,
    MOTORCYCLE,
    BICYCLE,
) = range(19)
CLUTTER, PARKING = 19, 20
"""What is there, but belongs to no class: bins and stalls, and parking areas. Truth ignores both."""

Random = np.random.Generator
Corners = list[tuple[float, float, float]]


@dataclass(frozen=True)
class Place:
    """Where a thing is at one moment, in metres across the street and ahead; and its phase of walking."""

    across: float
    ahead: float
    phase: float = 0.0


class Figure(Protocol):
    """What can be painted at a place."""

    def paint(self, painter: Painter, place: Place) -> None:
        """Paint it; what lies farther away has been painted before."""


@dataclass(frozen=True)
class Building:
    """A house along the street: `side` is -1 on the left, 1 on the right, `roof` the height of its gable."""

    side: int
    length: float
    height: float
    depth: float
    roof: float
    bays: tuple[float, ...]
    chimneys: tuple[float, ...]

    def paint(self, painter: Painter, place: Place) -> None:
        """Roof, gable end, front, bays; `place` is the near corner on the street."""
        x, z = place.across, place.ahead
        back, ridge, far = x + self.side * self.depth, x + self.side * self.depth / 2, z + self.length
        top, peak = self.height, self.height + self.roof
        parts: list[Corners] = [
            [(x, top, z), (x, top, far), (ridge, peak, far), (ridge, peak, z)],
            [(x, 0, z), (x, top, z), (ridge, peak, z), (back, top, z), (back, 0, z)],
            [(x, 0, z), (x, top, z), (x, top, far), (x, 0, far)],
        ]
        for along in self.chimneys:
            parts += self._block(ridge, z + along * self.length, peak - 0.5, 1.6, 0.9)
        for along in self.bays:
            parts += self._block(x - self.side * 0.5, z + along * self.length, 3.0, top - 4.5, 2.2)
        painter.solid(parts, BUILDING)

    def _block(self, x: float, z: float, bottom: float, height: float, width: float) -> list[Corners]:
        far, top, inner = z + width, bottom + height, x + self.side
        return [
            [(x, bottom, z), (inner, bottom, z), (inner, top, z), (x, top, z)],
            [(x, bottom, z), (x, bottom, far), (x, top, far), (x, top, z)],
        ]


@dataclass(frozen=True)
class Tree:
    """A trunk and lobes of foliage; a lobe is (across, up) of its middle and its outline around it."""

    trunk_radius: float
    trunk_height: float
    lobes: tuple[Numbers, ...]

    def paint(self, painter: Painter, place: Place) -> None:
        """Trunk and foliage; a far trunk is never thinner than a pixel."""
        wide, top = max(self.trunk_radius, 0.6 * place.ahead / painter.camera.focal_px), self.trunk_height
        trunk = np.array([(-1.3 * wide, 0), (1.3 * wide, 0), (wide, top), (-wide, top)])
        painter.flat((place.across, place.ahead), [trunk, *self.lobes], VEGETATION)


def leafy(random: Random, across: float, up: float, radius: float, flatness: float = 1.0) -> Numbers:
    """The outline of foliage: a circle whose radius wavers at every scale, float (corner, 2)."""
    angles = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    waves = np.arange(2, 17)
    sizes = random.normal(0, 0.16, len(waves)) / waves**0.75
    phases = random.uniform(0, 2 * np.pi, len(waves))
    distance = radius * (1 + (sizes[:, None] * np.cos(waves[:, None] * angles + phases[:, None])).sum(axis=0))
    return np.column_stack([across + distance * np.cos(angles), up + flatness * distance * np.sin(angles)])


@dataclass(frozen=True)
class Strip:
    """A wall, a fence or a hedge along the street; `tops` are heights at equal distances along it."""

    class_id: int
    length: float
    tops: tuple[float, ...]

    def paint(self, painter: Painter, place: Place) -> None:
        """The side that is seen from the street; `place` is the near end."""
        along = np.linspace(place.ahead, place.ahead + self.length, len(self.tops))
        upper = [(place.across, top, z) for top, z in zip(self.tops, along, strict=True)]
        lower = [(place.across, 0.0, place.ahead + self.length), (place.across, 0.0, place.ahead)]
        painter.solid([upper + lower], self.class_id)


@dataclass(frozen=True)
class Post:
    """A post with plates, each an outline in metres and a class; an arm reaches over the road."""

    height: float
    radius: float
    plates: tuple[tuple[Numbers, int], ...] = ()
    arm: float = 0.0

    def paint(self, painter: Painter, place: Place) -> None:
        """Post, arm, plates; never thinner than a pixel, as annotators draw them."""
        at = (place.across, place.ahead)
        half = max(self.radius, 0.62 * place.ahead / painter.camera.focal_px)
        post = [box(-half, 0, half, self.height)]
        if self.arm:
            left, right = sorted((0.0, self.arm))
            post.append(box(left, self.height - 1.4 * half, right, self.height))
        painter.flat(at, post, POLE)
        for outline, class_id in self.plates:
            painter.flat(at, [outline], class_id)


Profile = tuple[tuple[float, float], ...]
"""A vehicle from the side: (part of the length, part of the height), from the rear bumper over the roof."""

SALOON: Profile = (
    (0.0, 0.20), (0.0, 0.58), (0.03, 0.66), (0.13, 0.69), (0.24, 0.95), (0.32, 1.0), (0.54, 1.0),
    (0.61, 0.95), (0.73, 0.66), (0.93, 0.58), (0.99, 0.48), (1.0, 0.20),
)  # fmt: skip
ESTATE: Profile = (
    (0.0, 0.20), (0.0, 0.60), (0.05, 0.92), (0.12, 1.0), (0.54, 1.0), (0.61, 0.95), (0.73, 0.67),
    (0.93, 0.60), (0.99, 0.48), (1.0, 0.20),
)  # fmt: skip
HATCHBACK: Profile = (
    (0.0, 0.20), (0.0, 0.56), (0.03, 0.64), (0.12, 0.93), (0.22, 1.0), (0.52, 1.0), (0.61, 0.93),
    (0.76, 0.63), (0.95, 0.54), (1.0, 0.44), (1.0, 0.20),
)  # fmt: skip
VAN: Profile = (
    (0.0, 0.15), (0.0, 0.94), (0.03, 1.0), (0.66, 1.0), (0.72, 0.95), (0.84, 0.58), (0.98, 0.48),
    (1.0, 0.35), (1.0, 0.15),
)  # fmt: skip
LORRY: Profile = (
    (0.0, 0.22), (0.0, 1.0), (0.74, 1.0), (0.74, 0.80), (0.77, 0.80), (0.79, 0.86), (0.95, 0.84),
    (0.99, 0.60), (1.0, 0.14), (0.76, 0.14), (0.76, 0.22),
)  # fmt: skip
COACH: Profile = ((0.0, 0.10), (0.0, 0.96), (0.01, 1.0), (0.985, 1.0), (1.0, 0.94), (1.0, 0.10))
TRAM: Profile = (
    (0.0, 0.08),
    (0.0, 0.55),
    (0.02, 0.94),
    (0.04, 1.0),
    (0.96, 1.0),
    (0.98, 0.94),
    (1.0, 0.55),
    (1.0, 0.08),
)


@dataclass(frozen=True)
class Vehicle:
    """A body drawn out of its profile; `heading` 0 drives away from the camera, pi towards it."""

    class_id: int
    profile: Profile
    length: float
    width: float
    height: float
    heading: float = 0.0
    roof_width: float = 0.8

    def paint(self, painter: Painter, place: Place) -> None:
        """Body and wheels; `place` is the middle of the vehicle on the ground."""
        along = np.array([part for part, _ in self.profile]) * self.length - self.length / 2
        up = np.array([part for _, part in self.profile]) * self.height
        narrowing = np.clip((up / self.height - 0.62) / 0.38, 0, 1) * (1 - self.roof_width)
        half = self.width / 2 * (1 - narrowing)
        parts = extruded(self._turned(along, -half, up, place), self._turned(along, half, up, place))
        if painter.size_px(self.height, place.ahead) > 10 and self.class_id != TRAIN:
            parts += self._wheels(place)
        painter.solid(parts, self.class_id)

    def _wheels(self, place: Place) -> list[Numbers]:
        radius = min(0.34 + 0.012 * self.length, 0.48)
        outline = disc(0, radius, radius, corners=10)
        parts = []
        for along in (-0.31 * self.length, 0.31 * self.length):
            for outer, inner in ((-0.5, -0.38), (0.38, 0.5)):
                sides = [
                    self._turned(outline[:, 0] + along, np.full(10, self.width * side), outline[:, 1], place)
                    for side in (outer, inner)
                ]
                parts += extruded(*sides)
        return parts

    def _turned(self, along: Numbers, aside: Numbers, up: Numbers, place: Place) -> Numbers:
        sine, cosine = np.sin(self.heading), np.cos(self.heading)
        across = place.across + along * sine + aside * cosine
        return np.column_stack([across, up, place.ahead + along * cosine - aside * sine])


@dataclass(frozen=True)
class Walker:
    """A person on foot, `height` metres tall; `sideways` says how much of the stride is seen, 0 to 1."""

    height: float
    sideways: float = 0.5
    bag: float = 0.0

    def paint(self, painter: Painter, place: Place) -> None:
        """Legs, trunk, arms, head."""
        stride = float(np.sin(place.phase)) * (0.08 + 0.24 * self.sideways)
        parts = [disc(0, 1.63, 0.125, squeeze=0.85)]
        for swing, foot in ((stride, 0.07), (-stride, -0.07)):
            parts.append(limb((foot, 0.88), (swing + foot, 0.0), 0.1, 0.07))
            parts.append(limb((2.7 * foot, 1.38), (2.2 * foot - 0.8 * swing, 0.8), 0.06, 0.05))
        shoulder = 0.24 - 0.07 * self.sideways
        right = [(0.17, 0.82), (0.18, 1.1), (shoulder, 1.42), (0.08, 1.52)]
        parts.append(np.array(right + [(-across, up) for across, up in reversed(right)]))
        if self.bag:
            parts.append(box(0.15, 0.95, 0.15 + self.bag, 1.4))
        painter.flat((place.across, place.ahead), [part * self.height / 1.75 for part in parts], PERSON)


def limb(start: tuple[float, float], end: tuple[float, float], thick: float, thin: float) -> Numbers:
    """A leg or an arm from `start` to `end`, as half as wide as `thick` and `thin` say."""
    (x, y), (x_end, y_end) = start, end
    return np.array([(x - thick, y), (x + thick, y), (x_end + thin, y_end), (x_end - thin, y_end)])


@dataclass(frozen=True)
class Cycle:
    """A bicycle or a motorcycle, ridden or parked; `sideways` 1 is seen from the side, 0 from the end."""

    class_id: int
    sideways: float
    ridden: bool

    def paint(self, painter: Painter, place: Place) -> None:
        """Wheels and frame, then who rides."""
        at = (place.across, place.ahead)
        wide = max(abs(self.sideways), 0.12) * float(np.sign(self.sideways or 1))
        heavy = self.class_id == MOTORCYCLE
        radius, base, grip = (0.32, 0.68, 0.3) if heavy else (0.35, 0.54, 0.24)
        apart = base * (abs(wide) - 0.12) / 0.88
        squeeze = max(abs(wide), 0.24)
        parts = [disc(end, radius, radius, squeeze=squeeze) for end in (-apart, apart)]
        parts.append(np.array(HEAVY_FRAME if heavy else LIGHT_FRAME) * (wide, 1))
        parts.append(box(0.45 * wide - grip, 0.95, 0.45 * wide + grip, 1.03))
        painter.flat(at, parts, self.class_id)
        if self.ridden:
            painter.flat(at, self._rider(wide), RIDER)

    def _rider(self, wide: float) -> list[Numbers]:
        side = [np.array(part) * (wide, 1) for part in (RIDER_LEG, RIDER_TRUNK, RIDER_ARM)]
        legs = [limb((aside, 0.95), (0.9 * aside, 0.25 + aside), 0.09, 0.06) for aside in (-0.12, 0.12)]
        back = np.array([(-0.17, 0.85), (0.17, 0.85), (0.22, 1.36), (0.1, 1.5), (-0.1, 1.5), (-0.22, 1.36)])
        return [*side, *legs, back, disc(0.2 * wide, 1.64, 0.13)]


LIGHT_FRAME = ((-0.5, 0.32), (0.05, 0.28), (0.5, 0.9), (0.42, 0.98), (-0.25, 0.88))
HEAVY_FRAME = ((-0.75, 0.35), (0.5, 0.3), (0.62, 0.75), (0.35, 0.98), (-0.1, 0.8), (-0.8, 0.78))
RIDER_LEG = ((-0.3, 0.95), (0.0, 0.98), (0.28, 0.62), (0.12, 0.2), (-0.02, 0.2), (0.06, 0.62), (-0.25, 0.78))
RIDER_TRUNK = ((-0.32, 0.85), (0.02, 0.88), (0.24, 1.36), (0.16, 1.52), (0.0, 1.5), (-0.2, 1.25))
RIDER_ARM = ((0.12, 1.4), (0.22, 1.3), (0.5, 1.0), (0.44, 0.95))


@dataclass(frozen=True)
class Heap:
    """A bin, a stall, a pile: something of no class."""

    width: float
    height: float

    def paint(self, painter: Painter, place: Place) -> None:
        """A box that faces the camera."""
        painter.flat(
            (place.across, place.ahead), [box(-self.width / 2, 0, self.width / 2, self.height)], CLUTTER
        )


def building(random: Random, side: int, length: float, height: float) -> Building:
    """A house with some bays and chimneys."""
    roof = float(random.choice([0.0, 0.0, 1.2, 2.8, 4.0]))
    bays = tuple(random.uniform(0.05, 0.85, random.integers(0, 3))) if height > 8 else ()
    chimneys = tuple(random.uniform(0.1, 0.9, random.integers(0, 3)))
    return Building(side, length, height, random.uniform(9, 15), roof, bays, chimneys)


def tree(random: Random) -> Tree:
    """A tree of one to four lobes."""
    radius, trunk = random.uniform(1.3, 2.8), random.uniform(1.9, 3.2)
    middle = trunk + 0.75 * radius
    lobes = [leafy(random, 0, middle, radius, random.uniform(0.9, 1.25))]
    for _ in range(random.integers(0, 4)):
        aside, above = random.uniform(-0.7, 0.7) * radius, random.uniform(-0.1, 0.9) * radius
        lobes.append(leafy(random, aside, middle + above, radius * random.uniform(0.45, 0.75)))
    return Tree(random.uniform(0.11, 0.24), middle, tuple(lobes))


def bush(random: Random) -> Tree:
    """Foliage from the ground."""
    radius = random.uniform(0.5, 1.1)
    return Tree(radius / 2, radius, (leafy(random, 0, 0.7 * radius, radius, 0.8),))


def lamp(random: Random, side: int) -> Post:
    """A street lamp; its arm reaches over the road."""
    return Post(random.uniform(5.5, 7.5), 0.085, arm=-side * random.uniform(0.9, 1.8))


def sign(random: Random, side: int) -> Post:
    """One or two traffic signs on a post: round, triangular or rectangular."""
    up = random.uniform(2.1, 2.6)
    shapes = [
        disc(0, up, 0.33),
        disc(0, up, 0.42, corners=3),
        box(-0.28, up - 0.35, 0.28, up + 0.35),
        disc(0, up, 0.4, corners=4),
    ]
    plates = [(shapes[random.integers(len(shapes))], TRAFFIC_SIGN)]
    if random.random() < 0.35:
        plates.append((box(-0.28, up - 0.85, 0.28, up - 0.42), TRAFFIC_SIGN))
    return Post(up + 0.45, 0.045, tuple(plates))


def traffic_light(random: Random, side: int) -> Post:
    """A traffic light at the kerb, sometimes with a second one over the road."""
    up = random.uniform(2.5, 2.9)
    plates = [((box(-0.17, up, 0.17, up + 0.95)), TRAFFIC_LIGHT)]
    if random.random() < 0.5:
        return Post(up + 1.0, 0.075, tuple(plates))
    reach = -side * random.uniform(2.8, 4.2)
    plates.append(((box(reach - 0.2, 4.6, reach + 0.2, 5.7)), TRAFFIC_LIGHT))
    return Post(5.4, 0.09, tuple(plates), arm=reach)


def direction_board(random: Random, side: int) -> Post:
    """A large board that tells directions."""
    wide = random.uniform(0.9, 1.5)
    return Post(3.6, 0.06, (((box(-wide, 2.2, wide, 3.6)), TRAFFIC_SIGN),))


def car(random: Random, heading: float) -> Vehicle:
    """A passenger car or a van."""
    profile, length, height = CARS[random.choice(len(CARS), p=[0.3, 0.25, 0.3, 0.15])]
    grown = random.uniform(0.94, 1.06)
    roof_width = 0.93 if profile is VAN else 0.78
    return Vehicle(
        CAR, profile, length * grown, random.uniform(1.7, 1.86), height * grown, heading, roof_width
    )


CARS: tuple[tuple[Profile, float, float], ...] = (
    (SALOON, 4.6, 1.45),
    (ESTATE, 4.6, 1.5),
    (HATCHBACK, 3.9, 1.5),
    (VAN, 4.9, 2.0),
)


def truck(random: Random, heading: float) -> Vehicle:
    """A lorry with a box body."""
    return Vehicle(TRUCK, LORRY, random.uniform(7, 9.5), 2.4, random.uniform(3.0, 3.6), heading, 1.0)


def bus(random: Random, heading: float) -> Vehicle:
    """A city bus."""
    return Vehicle(BUS, COACH, random.uniform(10.5, 12), 2.5, 3.1, heading, 0.96)


def train(random: Random, heading: float) -> Vehicle:
    """A tram."""
    return Vehicle(TRAIN, TRAM, random.uniform(20, 28), 2.4, 3.5, heading, 0.9)


def fence(random: Random, length: float) -> Strip:
    """A fence of even height."""
    return Strip(FENCE, length, (random.uniform(0.9, 1.7),) * 2)


def wall(random: Random, length: float) -> Strip:
    """A wall, sometimes in steps."""
    low = random.uniform(1.0, 2.2)
    return Strip(WALL, length, (low, low, low, low + random.choice([0.0, 0.0, 0.5]), low))


def hedge(random: Random, length: float) -> Strip:
    """A hedge with an uneven top."""
    tops = random.uniform(1.0, 1.9) + random.normal(0, 0.08, 20)
    return Strip(VEGETATION, length, tuple(tops))


Standing = Callable[[Random, int], Figure]
Lying = Callable[[Random, float], Strip]
