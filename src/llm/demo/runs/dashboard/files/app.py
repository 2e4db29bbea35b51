"""The page: numbers from `data`, pictures from `charts`, words from here."""

from datetime import date
from html import escape

import charts
import data

PERIODS = [(4, "4 weeks"), (12, "12 weeks"), (26, "Half a year")]

data.prepare()


def page(query):
    weeks = next((weeks for weeks, _ in PERIODS if query.get("weeks") == [str(weeks)]), 12)
    now, before = data.totals(weeks), data.totals(weeks, shift=1)
    average = now["revenue"] / max(now["orders"], 1)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Harbour Roastery</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body>
<header>
  <div><h1>Harbour Roastery</h1><p>Sales until {date.today():%d %B %Y} · sample data</p></div>
  <nav aria-label="Period">{"".join(period(*entry, weeks) for entry in PERIODS)}</nav>
</header>
<main>
  <section class="numbers" aria-label="Key figures">
    {number("Revenue", f"{now['revenue']:,.0f} €", now["revenue"], before["revenue"])}
    {number("Bags sold", f"{now['bags']:,}", now["bags"], before["bags"])}
    {number("Orders", f"{now['orders']:,}", now["orders"], before["orders"])}
    {number("Average order", f"{average:,.2f} €", average, before["revenue"] / max(before["orders"], 1))}
  </section>
  <section class="panel wide"><h2>Revenue by week</h2>{charts.area(data.by_week(weeks))}</section>
  <section class="panel"><h2>By coffee</h2>{charts.bars(data.by("coffee", weeks))}</section>
  <section class="panel"><h2>By channel</h2>{charts.bars(data.by("channel", weeks))}</section>
  <section class="panel wide"><h2>Latest orders</h2>{table(data.orders())}</section>
</main>
<script>
let version;
new EventSource("reload").onmessage = ({{ data }}) => {{
  if (version && version !== data) location.reload();
  version = data;
}};
</script>
</body>
</html>"""


def period(weeks, label, chosen):
    current = ' aria-current="true"' if weeks == chosen else ""
    return f'<a href="?weeks={weeks}"{current}>{label}</a>'


def number(label, value, now, before):
    change = ""
    if before:
        percent = 100 * (now - before) / before
        change = f'<small class="{"up" if percent >= 0 else "down"}">{percent:+.0f} % against the period before</small>'
    return f"<div><h2>{label}</h2><strong>{value}</strong>{change}</div>"


def table(rows):
    if not rows:
        return '<p class="empty">No order fits.</p>'
    lines = "".join(
        f"<tr><td>{date.fromisoformat(row['day']):%d %b}</td><td>{escape(row['coffee'])}</td><td>{escape(row['buyer'])}</td>"
        f"<td><span class='tag'>{row['channel']}</span></td><td class='n'>{row['bags']}</td><td class='n'>{row['total']:,.2f} €</td></tr>"
        for row in rows
    )
    heads = "<th>Day</th><th>Coffee</th><th>Buyer</th><th>Channel</th><th class='n'>Bags</th><th class='n'>Total</th>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Orders"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
