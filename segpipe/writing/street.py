"""Street scenes as label maps: a street is laid out once, then seen frame by frame from a moving car."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segpipe.writing import figures
from segpipe.writing.figures import (
    BICYCLE,
    BUILDING,
    CLUTTER,
    MOTORCYCLE,
    PARKING,
    ROAD,
    SIDEWALK,
    SKY,
    TERRAIN,
    VEGETATION,
    Cycle,
    Figure,
    Heap,
    Place,
    Random,
    Strip,
    Walker,
)
from segpipe.writing.painting import Camera, Labels, Painter, box, fill

IGNORE = 255
SIGHT_M = 125.0
"""What is farther away is part of the skyline."""
STREET_M = 320.0
RARE = ("bus", "truck", "train", "motorcycle")
"""Of these every street has two, so that every class is found in the dataset."""


@dataclass(frozen=True)
class Thing:
    """A figure, where it is in the street at the first frame, and how far it moves per frame, in metres."""

    figure: Figure
    across: float
    along: float
    across_step: float = 0.0
    along_step: float = 0.0
    length: float = 0.0
    phase: float = 0.0

    def at(self, frame: float, car_m: float) -> Place:
        """Its place when the car has gone `car_m` metres."""
        return Place(
            self.across + frame * self.across_step,
            self.along + frame * self.along_step - car_m,
            self.phase + 0.75 * frame,
        )


@dataclass(frozen=True)
class Ground:
    """The street from above: `edges` in metres across, rising, and the classes between them."""

    edges: tuple[float, ...]
    classes: tuple[int, ...]
    crossings: tuple[tuple[float, float], ...]

    def paint(self, labels: Labels, camera: Camera, car_m: float) -> None:
        """All below the horizon."""
        top, across, ahead = camera.ground()
        below = np.full(across.shape, self.classes[0], np.uint8)
        for edge, class_id in zip(self.edges, self.classes[1:], strict=True):
            below[across > edge] = class_id
        along = (ahead + car_m)[:, 0]
        for start, stop in self.crossings:
            below[(along > start) & (along < stop)] = ROAD
        labels[top:] = below

    def blocks(self, along: float) -> float | None:
        """Where the crossing at `along` ends; None where there is none."""
        return next((stop for start, stop in self.crossings if start <= along < stop), None)


@dataclass(frozen=True)
class Street:
    """A street and all that stands and moves in it."""

    ground: Ground
    things: tuple[Thing, ...]
    skyline: tuple[tuple[float, float, float, int], ...]
    step_m: float
    bend_per_m: float
    sway: float
    camera_m: float

    def codes(self, frame: float, height: int, width: int) -> Labels:
        """One frame: class ids, and the codes of clutter and parking areas; uint8 (height, width)."""
        car_m = frame * self.step_m
        camera = self._camera(frame, height, width)
        labels = np.full((height, width), SKY, np.uint8)
        painter = Painter(labels, camera)
        self.ground.paint(labels, camera, car_m)
        for left, right, top, class_id in self.skyline:
            painter.flat((0.0, SIGHT_M), [box(left, 0, right, top)], class_id)
        seen = [(thing, thing.at(frame, car_m)) for thing in self.things]
        seen.sort(key=lambda pair: -(pair[1].ahead + pair[0].length))
        for thing, place in seen:
            if place.ahead < SIGHT_M and place.ahead + thing.length > 1.5:
                thing.figure.paint(painter, place)
        return labels

    def _camera(self, frame: float, height: int, width: int) -> Camera:
        yaw = 0.012 * np.sin(0.11 * frame + self.sway) * width
        pitch = 0.004 * np.sin(0.9 * frame + 2 * self.sway) * height
        return Camera(height, width, self.camera_m, bend_per_m=self.bend_per_m, yaw_px=yaw, pitch_px=pitch)


def truth_of(codes: Labels) -> Labels:
    """What an annotator makes of it: clutter, parking areas, the bonnet and the borders are ignored (255)."""
    truth = codes.copy()
    truth[codes >= CLUTTER] = IGNORE
    truth[bonnet(*codes.shape)] = IGNORE
    edge = max(1, codes.shape[1] // 220)
    truth[:, :edge] = truth[:, -edge:] = IGNORE
    truth[: edge // 2] = truth[-edge:] = IGNORE
    return truth


def bonnet(height: int, width: int) -> NDArray[np.bool_]:
    """Where the bonnet of the car with the camera is, with its badge; bool (height, width)."""
    mask = np.zeros((height, width), np.uint8)
    aside = np.linspace(-1.04, 1.04, 41)
    edge = height * (0.885 + 0.055 * aside**2 + 0.11 * np.clip(np.abs(aside) - 0.72, 0, None))
    outline = np.column_stack([width / 2 * (1 + aside), edge])
    badge = np.array([(0.491, 0.9), (0.494, 0.862), (0.506, 0.862), (0.509, 0.9)]) * (width, height)
    fill(mask, [np.vstack([outline, [(width, height + 1), (0, height + 1)]]), badge], 1)
    return mask.astype(np.bool_)


@dataclass
class Planner:
    """Lays out one street; every number is drawn from `random`."""

    random: Random
    rare: tuple[str, ...]
    things: list[Thing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.style = str(self.random.choice(["city", "suburb", "avenue"], p=[0.45, 0.3, 0.25]))
        self.road = {-1: self._between(3.8, 6.2), 1: self._between(4.8, 6.8)}
        self.walk = {side: self._between(2.0, 4.2) for side in (-1, 1)}
        self.parking = {side: 2.3 if self._chance(0.12) else 0.0 for side in (-1, 1)}
        self.grass = {
            side: 1.4 if self._chance(0.5 if self.style == "avenue" else 0.12) else 0.0 for side in (-1, 1)
        }
        self.garden = {side: self._between(3, 7) if self.style == "suburb" else 0.0 for side in (-1, 1)}
        self.step_m = self._between(0.45, 0.95)
        start = self._between(28, 65)
        self.crossings = tuple(
            (start + gap, start + gap + self._between(9, 14)) for gap in (0.0, self._between(75, 110))
        )
        self.ground = self._ground()

    def _between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def _chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def kerb(self, side: int) -> float:
        """Metres from the middle to where the pavement begins."""
        return self.road[side] + self.parking[side] + self.grass[side]

    def front(self, side: int) -> float:
        """Metres from the middle to where private ground begins."""
        return self.kerb(side) + self.walk[side]

    def _ground(self) -> Ground:
        verge = TERRAIN if self.style == "suburb" or self._chance(0.3) else SIDEWALK
        sides: dict[int, list[tuple[float, int]]] = {}
        for side in (-1, 1):
            outward = [(self.road[side], PARKING), (self.road[side] + self.parking[side], TERRAIN)]
            sides[side] = [*outward, (self.kerb(side), SIDEWALK), (self.front(side), verge)]
        left = [(-distance, class_id) for distance, class_id in reversed(sides[-1])]
        edges = [edge for edge, _ in left] + [edge for edge, _ in sides[1]]
        classes = [class_id for _, class_id in left] + [ROAD] + [class_id for _, class_id in sides[1]]
        return Ground(tuple(edges), tuple(classes), self.crossings)

    def street(self) -> Street:
        """Everything, put together."""
        for side in (-1, 1):
            self._houses(side)
            self._plants(side)
            self._posts(side)
            self._parked(side)
            self._pavement(side)
        self._traffic()
        self._rare_traffic()
        self._crossing_people()
        return Street(
            self.ground,
            tuple(self.things),
            tuple(self._skyline()),
            self.step_m,
            self._between(-1, 1) / 260,
            self._between(0, 6),
            self.road[1] * 0.3,
        )

    def _along(self, start: float, low: float, high: float) -> Iterator[float]:
        """Places along the street at uneven distances, none on a crossing."""
        along = start
        while along < STREET_M:
            end = self.ground.blocks(along)
            if end is None:
                yield along
                along += self._between(low, high)
            else:
                along = end + 1.0

    def _houses(self, side: int) -> None:
        tall = {"city": (11, 21), "suburb": (5, 8.5), "avenue": (10, 19)}[self.style]
        height = self._between(*tall)
        along = self._between(-25, -12)
        while along < STREET_M:
            end = self.ground.blocks(along) or self.ground.blocks(along + 6)
            if end is not None:
                along = end + self.walk[side]
                continue
            length = self._between(9, 21)
            next_crossing = min((s for s, _ in self.crossings if s > along), default=STREET_M + 99)
            length = max(4.0, min(length, next_crossing - along - self.walk[side]))
            if self._chance(0.6):
                height = self._between(*tall)
            figure = figures.building(self.random, side, length, height)
            across = side * (self.front(side) + self.garden[side])
            self.things.append(Thing(figure, across, along, length=length))
            along += length
            if self._chance({"city": 0.18, "suburb": 0.8, "avenue": 0.35}[self.style]):
                along += self._gap(side, along)

    def _gap(self, side: int, along: float) -> float:
        """Trees and a boundary between two houses; returns its length."""
        length = self._between(5, 13)
        across = side * (self.front(side) + self.garden[side] + 0.3)
        kind = self._kind({"fence": figures.fence, "wall": figures.wall, "hedge": figures.hedge})
        if self.ground.blocks(along + length) is None:
            self.things.append(Thing(kind(self.random, length), across, along, length=length))
        for offset in (3.5, 9.0, 16.0):
            place = across + side * self._between(offset, offset + 3)
            self.things.append(Thing(figures.tree(self.random), place, along + self._between(0, length)))
        return length

    def _kind(self, kinds: dict[str, figures.Lying]) -> figures.Lying:
        return kinds[str(self.random.choice(sorted(kinds)))]

    def _plants(self, side: int) -> None:
        spacing = {"city": (24, 60), "suburb": (10, 24), "avenue": (7, 12)}[self.style]
        offset = 0.7 if self.style != "suburb" else self.walk[side] + 2.0
        for along in self._along(self._between(4, 20), *spacing):
            across = side * (self.kerb(side) + offset + self._between(-0.2, 0.4))
            self.things.append(Thing(figures.tree(self.random), across, along))
        if self.garden[side]:
            self._garden(side)

    def _garden(self, side: int) -> None:
        for along in self._along(-8.0, 9, 16):
            kind = self._kind({"fence": figures.fence, "wall": figures.wall, "hedge": figures.hedge})
            length = self._between(6, 10)
            if self.ground.blocks(along + length) is None and self._chance(0.8):
                strip: Strip = kind(self.random, length)
                self.things.append(Thing(strip, side * (self.front(side) + 0.1), along, length=length))
            bush_across = side * (self.front(side) + self._between(1.2, 2.6))
            self.things.append(Thing(figures.bush(self.random), bush_across, along + self._between(1, 6)))

    def _posts(self, side: int) -> None:
        at_kerb = side * (self.kerb(side) + 0.35)
        for along in self._along(self._between(8, 26), 24, 32):
            self.things.append(Thing(figures.lamp(self.random, side), at_kerb, along))
        for along in self._along(self._between(6, 18), 9, 30):
            make: figures.Standing = figures.direction_board if self._chance(0.12) else figures.sign
            self.things.append(Thing(make(self.random, side), at_kerb + side * 0.2, along))
        for start, stop in self.crossings:
            for along in (start - 1.5, stop + 0.8):
                self.things.append(Thing(figures.traffic_light(self.random, side), at_kerb, along))

    def _parked(self, side: int) -> None:
        if not self._chance(0.62):
            return
        centre = side * (self.road[side] + (self.parking[side] / 2 if self.parking[side] else -1.05))
        heading = 0.0 if side == 1 else np.pi
        for along in self._along(self._between(5, 16), 5.6, 7.0):
            if self._chance(0.55):
                aside = centre + self._between(-0.12, 0.12)
                self.things.append(Thing(figures.car(self.random, heading), aside, along, length=0.3))

    def _pavement(self, side: int) -> None:
        busy = {"city": (2.5, 12), "suburb": (14, 45), "avenue": (4, 18)}[self.style]
        for along in self._along(self._between(5, 14), *busy):
            self._people(side, along)
        for along in self._along(self._between(6, 30), 9, 34):
            across = side * (self.kerb(side) + self._between(0.5, 0.8))
            for number in range(self.random.choice([1, 1, 2])):
                cycle = Cycle(BICYCLE, self._between(0.75, 1.0) * side, ridden=False)
                self.things.append(Thing(cycle, across, along + 3.5 * number))
        for along in self._along(self._between(5, 25), 14, 40):
            heap = Heap(self._between(0.5, 1.1), self._between(0.7, 1.25))
            self.things.append(Thing(heap, side * (self.front(side) - 0.4), along))

    def _people(self, side: int, along: float) -> None:
        direction = self.random.choice([-1, 1]) * self._between(0.05, 0.09)
        if self._chance(0.2):
            direction = 0.0
        across = side * self._between(self.kerb(side) + 0.8, self.front(side) - 0.3)
        for _ in range(self.random.choice([1, 2, 3], p=[0.6, 0.3, 0.1])):
            walker = Walker(self._between(1.55, 1.9), self._between(0.1, 0.7), 0.16 * self._chance(0.4))
            place = (across + self._between(-0.7, 0.7), along + self._between(-0.5, 0.5))
            phase = self._between(0, 6)
            self.things.append(Thing(walker, *place, along_step=direction, phase=phase))

    def _traffic(self) -> None:
        lead = self._between(11, 34)
        lane = self.road[1] * 0.33
        while lead < 130:
            pace = self.step_m * self._between(0.85, 1.1)
            self.things.append(Thing(figures.car(self.random, 0.0), lane, lead, along_step=pace))
            lead += self._between(9, 42)
        lane, oncoming = -self.road[-1] * 0.38, self._between(14, 50)
        while oncoming < 240:
            self.things.append(
                Thing(figures.car(self.random, np.pi), lane, oncoming, along_step=-self.step_m * 0.9)
            )
            oncoming += self._between(9, 55)
        for side in (-1, 1):
            for along in self._along(self._between(10, 40), 22, 70):
                cycle = Cycle(BICYCLE, self._between(-0.45, 0.45), ridden=True)
                aside = side * (self.road[side] - (0.5 if self.parking[side] else 2.5))
                self.things.append(Thing(cycle, aside, along, along_step=side * self._between(0.2, 0.32)))

    def _rare_traffic(self) -> None:
        for kind in self.rare:
            near, far = self._between(20, 38), self._between(50, 90)
            for along, side in ((near, self.random.choice([-1, 1])), (far, self.random.choice([-1, 1]))):
                self._rare(kind, int(side), along)

    def _rare(self, kind: str, side: int, along: float) -> None:
        heading = 0.0 if side == 1 else np.pi
        pace = side * self.step_m * self._between(0.4, 0.7)
        if kind == "motorcycle":
            for number, ridden in enumerate((True, False, False)):
                cycle = Cycle(MOTORCYCLE, self._between(0.3, 0.9), ridden=ridden)
                across = side * (self.road[side] - 1.2 if ridden else self.kerb(side) + 0.6)
                self.things.append(Thing(cycle, across, along + 4 * number, along_step=pace * ridden))
            return
        vehicle = {"bus": figures.bus, "truck": figures.truck, "train": figures.train}[kind](
            self.random, heading
        )
        lane = side * self.road[side] * 0.42
        self._clear(lane, along, vehicle.length)
        self.things.append(Thing(vehicle, lane, along + vehicle.length / 2, along_step=pace, length=0.4))

    def _clear(self, lane: float, along: float, length: float) -> None:
        """Take other vehicles out of the way of a long one."""

        def in_the_way(thing: Thing) -> bool:
            vehicle = isinstance(thing.figure, (figures.Vehicle, Cycle))
            return vehicle and abs(thing.across - lane) < 1.6 and -16 < thing.along - along < length + 12

        self.things = [thing for thing in self.things if not in_the_way(thing)]

    def _crossing_people(self) -> None:
        for start, _ in self.crossings[:1]:
            for _ in range(self.random.integers(0, 5)):
                walker = Walker(self._between(1.6, 1.88), self._between(0.8, 1.0), 0.16 * self._chance(0.3))
                across, pace = self._between(-7, 7), self.random.choice([-1, 1]) * self._between(0.06, 0.09)
                along = start - self._between(0.5, 2.5)
                self.things.append(Thing(walker, across, along, across_step=pace, phase=self._between(0, 6)))

    def _skyline(self) -> Iterator[tuple[float, float, float, int]]:
        """Houses and woods far away: left and right edge and height in metres, class."""
        left = -100.0
        while left < 100:
            right = left + self._between(4, 14)
            green = self._chance(0.55)
            yield (
                left,
                right,
                self._between(2.5, 6) if green else self._between(5, 12),
                VEGETATION if green else BUILDING,
            )
            left = right


def make_street(seed: int, number: int) -> Street:
    """The street of one sequence; the same numbers give the same street."""
    random = np.random.default_rng([seed, number])
    rare = (RARE[number % 4], RARE[(number + 1 + number // 4) % 4])
    return Planner(random, rare).street()


def seen_by_networks(codes: Labels) -> Labels:
    """What the codes look like to a network: clutter like a building, parking areas like road."""
    seen = codes.copy()
    seen[codes == CLUTTER] = BUILDING
    seen[codes == PARKING] = ROAD
    return seen
