"""How much is measured: all of it, or so little that a test can see that every part works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes of what is measured.

    Attributes:
        size: height and width of a label map.
        images: of the stores of the counting stage.
        bucket_images: of these, per bucket.
        repeats: turns that are counted.
        sklearn_images: images that scikit-learn is given, being slow.
        kernel_cases: cases of the kernel's table.
        memory_images: of the stores whose memory is measured.
        raster_px: side of the raster whose memory is measured, and of its chunks.
        small_images: of the grouped store whose memory is measured.
        logits_classes: of the stores of logits whose memory is measured.
        tiny_images: images of 16 x 16 that cost nothing but their number: few, and many.
        planned_images: in the store that is only planned; its chunks hold 20 images.
        unchanged_images: in the store that is evaluated again; its chunks hold 50 images.
        grouped_images: arrays of the grouped store that is planned.
        interval_images, interval_classes: of the counts that intervals are made of.
        simulations, simulated_cases: datasets that are simulated for each case, and of how many cases.
    """

    size: tuple[int, int] = (1024, 2048)
    images: int = 640
    bucket_images: int = 8
    repeats: int = 7
    sklearn_images: int = 4
    kernel_cases: int | None = None
    memory_images: int = 64
    raster_px: tuple[int, int] = (40_000, 2_048)
    small_images: int = 100_000
    logits_classes: tuple[int, ...] = (150,)
    tiny_images: tuple[int, int] = (200, 2_000)
    planned_images: int = 1_000_000
    unchanged_images: int = 100_000
    grouped_images: int = 10_000
    interval_images: int = 10_000
    interval_classes: int = 150
    simulations: int = 500
    simulated_cases: int | None = None


FULL = Scale()
SMALL = Scale(
    size=(32, 32),
    images=2,
    bucket_images=1,
    repeats=1,
    sklearn_images=1,
    kernel_cases=1,
    memory_images=2,
    raster_px=(64, 32),
    small_images=2,
    logits_classes=(3,),
    tiny_images=(2, 4),
    planned_images=40,
    unchanged_images=100,
    grouped_images=2,
    interval_images=20,
    interval_classes=3,
    simulations=2,
    simulated_cases=1,
)
