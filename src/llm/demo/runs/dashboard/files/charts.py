"""Charts as inline SVG. Colours come from the style sheet, numbers from the caller."""

from html import escape


def nice(value):
    """A round number not below the value, for the top of an axis."""
    power = 10 ** (len(str(int(max(value, 1)))) - 1)
    return next(step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if step * power >= value)


def area(points, width=1000, height=280):
    left, bottom, top = 64, 32, 14
    ceiling = nice(max(total for _, total in points))
    step = (width - left - 12) / max(len(points) - 1, 1)
    x = [left + at * step for at in range(len(points))]
    y = [top + (height - bottom - top) * (1 - total / ceiling) for _, total in points]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y))
    base = height - bottom
    parts = []
    for share in (0, 0.5, 1):
        level = top + (base - top) * (1 - share)
        parts.append(f'<line class="grid" x1="{left}" x2="{width}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(f'<text x="{left - 10}" y="{level + 4:.1f}" text-anchor="end">{ceiling * share:,.0f}</text>')
    parts.append(f'<polygon class="fill" points="{left},{base} {line} {x[-1]:.1f},{base}"/><polyline class="line" points="{line}"/>')
    every = max(1, len(points) // 6)
    for at, (name, total) in enumerate(points):
        if at % every == 0:
            parts.append(f'<text x="{x[at]:.1f}" y="{height - 8}" text-anchor="{"start" if at == 0 else "middle"}">{name}</text>')
        parts.append(f'<circle class="dot" cx="{x[at]:.1f}" cy="{y[at]:.1f}" r="4"><title>Week of {name}: {total:,.0f} €</title></circle>')
    words = f"Revenue by week, from {points[0][1]:,.0f} to {points[-1][1]:,.0f} euros"
    return f'<svg class="area" viewBox="0 0 {width} {height}" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def bars(rows):
    most = max(total for _, total in rows)
    lines = (
        f'<li><span>{escape(name)}</span><b>{total:,.0f} €</b><i style="width:{100 * total / most:.1f}%"></i></li>' for name, total in rows
    )
    return f'<ul class="bars">{"".join(lines)}</ul>'
