"""The confusion matrix of a classifier, counts and shares of the true class."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from inspector.errors import UsageError
from inspector.render.colormap import make_color_table
from inspector.render.figure import INK, MUTED, PAD, PAPER, draw_lines, measure_lines, paste_bar
from inspector.render.text import draw_text, draw_text_up, format_percent, measure_text, shorten

MOST = 64
"""Classes that are drawn; of more, those with the most mistakes."""


# Long: a good part is the description of its parameters.
def draw_confusion(
    counts: Sequence[Sequence[int]], labels: Sequence[str], *, title: str, subtitle: str = ""
) -> Image.Image:
    """Rows are the true classes, columns the answers; the color is the share of the row.

    Returns an RGB image.

    Args:
        counts: int (K, K).
        labels: K names.
        title: Of the chart.
        subtitle: Below the title.

    Raises:
        UsageError: They do not match.
    """
    if not labels or len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
        raise UsageError(f"a confusion matrix of {len(labels)} classes needs as many rows and columns")
    chosen = list(range(len(labels)))
    note = ""
    if len(chosen) > MOST:
        wrong = [sum(row) - row[k] for k, row in enumerate(counts)]
        chosen = sorted(sorted(chosen, key=lambda k: -wrong[k])[:MOST])
        note = f"the {MOST} of {len(labels)} classes with the most mistakes; "
    n = len(chosen)
    cell = max(14, min(72, 620 // n))
    names = [shorten(labels[k], 12, 170, middle=True) for k in chosen]
    widest = max(measure_text(name, 12) for name in names)
    upright = widest > cell - 6
    left = PAD + 24 + widest + 8
    room = max(left + n * cell, 420) - PAD
    blocks = [(title, 17, INK, 3), (f"{note}rows: true class; columns: answer", 12, INK, 2), (subtitle, 12, MUTED, 2)]
    top = PAD - 4 + measure_lines(room, blocks) + 12
    below = top + n * cell
    height = below + (widest + 12 if upright else 24) + 24 + 62
    canvas = Image.new("RGB", (room + 2 * PAD, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw_lines(draw, PAD, PAD - 4, room, blocks)
    table = make_color_table("viridis", 256)
    draw_text_up(draw, (PAD + 6, top + (n * cell - measure_text("true class", 12)) / 2), "true class", 12, MUTED)
    for r, true in enumerate(chosen):
        total = sum(counts[true])
        y = top + r * cell
        draw_text(draw, (left - 8, y + cell / 2 - 9), names[r], 12, INK, "right")
        for c, answer in enumerate(chosen):
            share = counts[true][answer] / total if total else 0.0
            color = tuple(int(v) for v in table[round(255 * share)])
            x = left + c * cell
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=color)
            text = str(counts[true][answer])
            if counts[true][answer] and measure_text(text, 12) <= cell - 4:
                # Dark ink on the bright end of the map, white elsewhere.
                ink = INK if share > 0.6 else (255, 255, 255)
                lift = 16 if cell >= 44 else 9
                draw_text(draw, (x + cell / 2 - 1, y + cell / 2 - lift), text, 12, ink, "middle")
                if cell >= 44:
                    draw_text(draw, (x + cell / 2 - 1, y + cell / 2), format_percent(share), 11, ink, "middle")
    for c, name in enumerate(names):
        middle = left + c * cell + cell / 2
        if upright:
            draw_text_up(draw, (middle - 8, below + 6), name, 12, INK)
        else:
            draw_text(draw, (middle, below + 5), name, 12, INK, "middle")
    y = height - 78
    draw_text(draw, (left + n * cell / 2, y), "answer", 12, MUTED, "middle")
    paste_bar(canvas, (left, y + 28, left + min(256, max(n * cell, 120)), y + 40), 0, 1, "viridis")
    draw_text(draw, (left + min(256, max(n * cell, 120)) + 12, y + 25), "share of the true class", 12, INK)
    return canvas
