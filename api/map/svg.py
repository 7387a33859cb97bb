"""PURE: a node's picture as SVG. From left to right: uplinks, the node, the groups of workloads.

It is a grid, so that nothing has to be searched for and 2,000 workloads are laid out at once; a rail below each row
stands for their links. Colours are classes, which the page or the style of a drawing that stands alone defines.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, sqrt
from xml.sax.saxutils import escape, quoteattr

from netplumb.api.map.picture import Group, Picture, limits, port, size, words
from netplumb.api.text import counted
from netplumb.api.v1 import netplumb_pb2 as pb

BOX_WIDTH, BOX_HEIGHT, GAP = 196, 74, 14
_MARGIN, _LEFT_WIDTH, _LINE = 16, 212, 16
_HEADER = 40
_NAME_CHARS, _SMALL_CHARS = 24, 32
_COLUMNS_LEAST, _COLUMNS_MOST = 4, 12
_GOOD, _WAITING = frozenset({"Attached"}), frozenset({"Pending", "Retrying", "Detaching"})


def drawing(picture: Picture, style: str = "") -> str:
    """An element `svg`; with a style it stands alone."""
    columns = _columns(picture)
    left = list(_left(picture))
    x = _MARGIN + _LEFT_WIDTH * 2 + 3 * GAP
    parts, y = [], _MARGIN
    for group in picture.groups:
        drawn, height = _group(group, x, y, columns)
        parts += drawn
        y += height + GAP
    left_height = _MARGIN + (len(left) + 1) * (BOX_HEIGHT + GAP)
    width = x + columns * (BOX_WIDTH + GAP) + GAP + _MARGIN
    height = max(y, left_height) + _MARGIN
    wires = list(_wires(picture, x, columns))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "".join(
        [f'{head} role="img" aria-label="The node and its workloads">', style, *wires, *left, *parts, "</svg>"]
    )


def _columns(picture: Picture) -> int:
    largest = max((len(group.attachments) for group in picture.groups), default=0)
    return min(max(ceil(sqrt(largest)), _COLUMNS_LEAST), _COLUMNS_MOST)


def _group_height(group: Group, columns: int) -> int:
    rows = ceil(len(group.attachments) / columns)
    return _HEADER + rows * (BOX_HEIGHT + GAP) + (GAP if rows else 0)


def _left(picture: Picture) -> Iterator[str]:
    node_x = _MARGIN + _LEFT_WIDTH + GAP
    what = "ready" if picture.ready else "not ready"
    lines = [
        counted(picture.attached, "attachment"),
        f"{picture.broken} not as wished" if picture.broken else "all as wished",
    ]
    look = "good" if picture.ready and not picture.problems else "bad"
    yield _box(node_x, _MARGIN, _LEFT_WIDTH, look, f"node, {what}", lines, "\n".join(picture.problems))
    for number, problem in enumerate(picture.problems, 1):
        y = _MARGIN + number * (BOX_HEIGHT + GAP)
        yield _box(node_x, y, _LEFT_WIDTH, "bad", problem.partition(":")[0], [problem.partition(": ")[2]], problem)
    for number, uplink in enumerate(picture.uplinks):
        y = _MARGIN + number * (BOX_HEIGHT + GAP)
        lines = [*uplink.addresses[:2], f"MTU {uplink.mtu}" if uplink.mtu else ""]
        yield _box(_MARGIN, y, _LEFT_WIDTH, "plain", uplink.name, lines, " ".join([uplink.name, *uplink.addresses]))


def _wires(picture: Picture, x: int, columns: int) -> Iterator[str]:
    node_y = _MARGIN + BOX_HEIGHT // 2
    node_left, node_right = _MARGIN + _LEFT_WIDTH + GAP, x - 2 * GAP
    for number in range(len(picture.uplinks)):
        y = node_y + number * (BOX_HEIGHT + GAP)
        yield _path(f"M{_MARGIN + _LEFT_WIDTH} {y}H{node_left - GAP // 2}V{node_y}H{node_left}")
    y, ends = _MARGIN, []
    for group in picture.groups:
        ends.append(y + _HEADER // 2)
        y += _group_height(group, columns) + GAP
    if ends:
        yield _path(f"M{node_right} {node_y}H{x - GAP}M{x - GAP} {min(node_y, ends[0])}V{max(node_y, ends[-1])}")
        yield _path("".join(f"M{x - GAP} {end}H{x}" for end in ends))


def _group(group: Group, x: int, y: int, columns: int) -> tuple[list[str], int]:
    height = _group_height(group, columns)
    width = columns * (BOX_WIDTH + GAP) + GAP
    parts = [
        f'<rect class="group" x="{x}" y="{y}" width="{width}" height="{height}" rx="10"/>',
        _text(x + GAP, y + 25, "name", f"{group.name}"),
    ]
    held = "   ".join(f"{pool.held} of {size(pool)} held" for pool in group.pools)
    parts.append(_text(x + width - GAP, y + 25, "small end", held))
    for start in range(0, len(group.attachments), columns):
        row = group.attachments[start : start + columns]
        top = y + _HEADER + start // columns * (BOX_HEIGHT + GAP)
        rail = top + BOX_HEIGHT + GAP // 2
        stubs = [x + GAP + number * (BOX_WIDTH + GAP) + BOX_WIDTH // 2 for number in range(len(row))]
        parts.append(
            _path(f"M{x} {rail}H{stubs[-1]}" + "".join(f"M{stub} {rail}V{top + BOX_HEIGHT}" for stub in stubs))
        )
        parts += (_attachment(it, x + GAP + number * (BOX_WIDTH + GAP), top) for number, it in enumerate(row))
    return parts, height


def _attachment(it: pb.Attachment, x: int, y: int) -> str:
    key = f"{it.workload_id}/{it.if_name}"
    name = it.workload_id if it.if_name == "eth0" else key
    carried = "  ".join(filter(None, (" ".join(map(port, it.port_mappings)), limits(it.bandwidth))))
    why = "; ".join(map(words, it.unmet))
    look = "bad" if it.phase not in _GOOD | _WAITING else "waiting" if it.unmet or it.phase in _WAITING else "good"
    lines = [*it.addresses[:2], why or carried or it.node_if_name]
    title = "\n".join(filter(None, (key, it.phase, *it.addresses, it.node_if_name, carried, why)))
    return f"<g data-key={quoteattr(key)}>{_box(x, y, BOX_WIDTH, look, name, lines, title)}</g>"


def _box(x: int, y: int, width: int, look: str, name: str, lines: list[str], title: str) -> str:
    parts = [
        f'<rect class="box {look}" x="{x}" y="{y}" width="{width}" height="{BOX_HEIGHT}" rx="6"/>',
        f'<rect class="edge {look}" x="{x}" y="{y}" width="5" height="{BOX_HEIGHT}" rx="2"/>',
        _text(x + 14, y + 19, "name", _short(name, _NAME_CHARS)),
    ]
    shown = [line for line in lines if line][:3]
    parts += (_text(x + 14, y + 36 + _LINE * n, "small", _short(line, _SMALL_CHARS)) for n, line in enumerate(shown))
    return f"<g>{f'<title>{escape(title)}</title>' if title else ''}{''.join(parts)}</g>"


def _text(x: int, y: int, look: str, text: str) -> str:
    return f'<text class="{look}" x="{x}" y="{y}">{escape(text)}</text>'


def _path(d: str) -> str:
    return f'<path class="wire" d="{d}"/>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
