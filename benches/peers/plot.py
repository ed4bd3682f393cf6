"""Lines over logarithmic axes, as SVG."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 240, 60, 50, 80
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]


@dataclass
class Panel:
    # What the vertical axis counts, and in which unit; all lines do.
    title: str
    # The same of the horizontal axis.
    across: str
    # Points of each line, by its name.
    lines: dict


def svg(panels):
    width = LEFT + len(panels) * (WIDTH + GAP)
    height = TOP + HEIGHT + 120
    parts = "".join(panel(each, LEFT + number * (WIDTH + GAP)) for number, each in enumerate(panels))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>{parts}</svg>\n')


def panel(each, left):
    points = [point for line in each.lines.values() for point in line]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
    across, up = scale(min(xs), max(xs), left, left + WIDTH), scale(low, high, TOP + HEIGHT, TOP)
    out = [f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#888"/>',
           text(left + WIDTH / 2, TOP - 16, each.title), text(left + WIDTH / 2, TOP + HEIGHT + 40, each.across)]
    tick = low
    while tick <= high:
        out += [f'<path d="M{left} {up(tick):.1f}h{WIDTH}" stroke="#ddd"/>',
                text(left - 6, up(tick) + 4, f"{tick:,.0f}" if tick >= 1 else f"{tick:g}", "end")]
        tick *= 10
    for x in sorted(set(xs)):
        out.append(text(across(x), TOP + HEIGHT + 18, f"{x:,.0f}" if x >= 10 else f"{x:.1f}".removesuffix(".0")))
    for number, (name, line) in enumerate(each.lines.items()):
        color, y = COLORS[number % len(COLORS)], TOP + HEIGHT + 62 + 16 * number
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        out += [f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>',
                *(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{color}"/>' for x, y in line),
                f'<rect x="{left}" y="{y - 9}" width="10" height="10" fill="{color}"/>',
                text(left + 16, y, name, "start")]
    return "".join(out)


def scale(low, high, start, end):
    span = math.log(high / low) or 1
    return lambda value: start + (end - start) * math.log(value / low) / span


def text(x, y, words, anchor="middle"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
