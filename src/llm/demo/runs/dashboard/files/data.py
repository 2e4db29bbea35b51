"""Sample sales of a small coffee roastery, in SQLite. Made once with a fixed seed, so they are the same everywhere."""

import random
import sqlite3
from datetime import date, timedelta
from pathlib import Path

FILE = Path(__file__).parent / "roastery.db"
COFFEES = [("Harbour Blend", 13.5, 1.0), ("Ethiopia Guji", 17.0, 0.7), ("Colombia Huila", 15.5, 0.6), ("Decaf Sunday", 14.0, 0.35), ("Sumatra Gayo", 16.5, 0.3)]
BUYERS = ["Café Lumen", "Nordlicht Books", "Pine & Co", "Studio Ferro", "The Corner Bar", "Hotel Miramar", "Bakery Osk", "Walk-in"]
CHANNELS = ["Shop", "Online", "Wholesale"]


def connect():
    db = sqlite3.connect(FILE)
    db.row_factory = sqlite3.Row
    return db


def prepare():
    if FILE.exists():
        return
    dice = random.Random(11)
    today = date.today()
    rows = []
    for back in range(26 * 7):
        day = today - timedelta(days=back)
        busy = (1.5 if day.weekday() >= 5 else 1.0) * (1.25 - back / 500)
        for _ in range(round(dice.uniform(3, 7) * busy)):
            coffee, price, _ = dice.choices(COFFEES, [weight for *_, weight in COFFEES])[0]
            channel = dice.choices(CHANNELS, [5, 3, 2])[0]
            bags = dice.randint(6, 24) if channel == "Wholesale" else dice.choice([1, 1, 1, 2, 2, 3])
            buyer = dice.choice(BUYERS[:-1]) if channel == "Wholesale" else "Walk-in" if channel == "Shop" else dice.choice(BUYERS)
            rows.append((day.isoformat(), coffee, buyer, channel, bags, round(bags * price * (0.8 if channel == "Wholesale" else 1), 2)))
    with connect() as db:
        db.execute("CREATE TABLE sales (day TEXT, coffee TEXT, buyer TEXT, channel TEXT, bags INTEGER, total REAL)")
        db.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?, ?)", rows)


def since(weeks, shift=0):
    return (date.today() - timedelta(weeks=weeks * (1 + shift))).isoformat()


def totals(weeks, shift=0):
    """Sums of the last weeks, or with `shift=1` of as many weeks before them."""
    with connect() as db:
        return db.execute(
            "SELECT coalesce(sum(total), 0) AS revenue, coalesce(sum(bags), 0) AS bags, count(*) AS orders FROM sales WHERE day > ? AND day <= ?",
            (since(weeks, shift), since(weeks, shift - 1)),
        ).fetchone()


def by_week(weeks):
    with connect() as db:
        rows = db.execute("SELECT day, sum(total) AS total FROM sales WHERE day > ? GROUP BY day", (since(weeks),))
        sums = [0.0] * weeks
        for row in rows:
            age = (date.today() - date.fromisoformat(row["day"])).days // 7
            if age < weeks:
                sums[weeks - 1 - age] += row["total"]
    start = date.today() - timedelta(weeks=weeks, days=-1)
    return [(f"{start + timedelta(weeks=at):%d %b}", total) for at, total in enumerate(sums)]


def by(column, weeks):
    """`column` is one of ours, never input."""
    with connect() as db:
        rows = db.execute(f"SELECT {column} AS name, sum(total) AS total FROM sales WHERE day > ? GROUP BY 1 ORDER BY 2 DESC", (since(weeks),))
        return [(row["name"], row["total"]) for row in rows]


def orders(limit=12):
    with connect() as db:
        return db.execute("SELECT * FROM sales ORDER BY day DESC, rowid LIMIT ?", (limit,)).fetchall()
