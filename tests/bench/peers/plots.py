"""Plots as SVG, drawn by hand: a few curves on axes, no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 16, 44
COLOURS = ("#0b6e99", "#d1495b", "#6a994e", "#8e6c8a")
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    points: Sequence[tuple[float, float]]


def plot(curves: Sequence[Curve], *, x: str, y: str) -> str:
    """The curves with the words for both axes, which begin at 0."""
    most_x = max(px for curve in curves for px, _ in curve.points)
    most_y = max(py for curve in curves for _, py in curve.points)
    return "\n".join(_lines(curves, x, y, _round_up(most_x), _round_up(most_y))) + "\n"


def _lines(curves: Sequence[Curve], x: str, y: str, most_x: float, most_y: float) -> Iterator[str]:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(px: float, py: float) -> tuple[float, float]:
        return round(LEFT + px / most_x * wide, 1), round(TOP + high - py / most_y * high, 1)

    box = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    for part in range(6):
        (gx, bottom), (left, gy) = at(most_x * part / 5, 0), at(0, most_y * part / 5)
        yield f'<path d="M{left} {gy}H{LEFT + wide}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{gy + 4}" text-anchor="end">{most_y * part / 5:g}</text>'
        yield f'<text x="{gx}" y="{bottom + 16}" text-anchor="middle">{most_x * part / 5:g}</text>'
    yield f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 8}" text-anchor="middle">{x}</text>'
    turned = f'transform="rotate(-90 14 {TOP + high / 2})"'
    yield f'<text x="14" y="{TOP + high / 2}" text-anchor="middle" {turned}>{y}</text>'
    for number, (curve, colour) in enumerate(zip(curves, COLOURS, strict=False)):
        path = " ".join(f"{px},{py}" for px, py in (at(*point) for point in curve.points))
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="{LEFT + wide + 12}" y="{TOP + 14 + 18 * number}" fill="{colour}">{curve.name}</text>'
    yield "</svg>"


def _round_up(value: float) -> float:
    """A round number that is not less, so that axes have round marks."""
    size = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.1
    return next(size * step for step in _STEPS if size * step >= value)
