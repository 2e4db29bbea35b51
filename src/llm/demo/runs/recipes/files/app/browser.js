"use client";

import { useMemo, useRef, useState } from "react";
import styles from "./browser.module.css";

const TIMES = [
  { label: "Any time", limit: Infinity },
  { label: "15 minutes", limit: 15 },
  { label: "30 minutes", limit: 30 },
];

export function Browser({ recipes }) {
  const [query, setQuery] = useState("");
  const [kitchen, setKitchen] = useState(null);
  const [limit, setLimit] = useState(Infinity);
  const [open, setOpen] = useState(null);
  const dialog = useRef(null);

  const kitchens = useMemo(() => [...new Set(recipes.map((recipe) => recipe.kitchen))].sort(), [recipes]);
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = recipes.filter((recipe) => {
    const text = `${recipe.title} ${recipe.kitchen} ${recipe.needs.map(([, , what]) => what).join(" ")}`.toLowerCase();
    return words.every((word) => text.includes(word)) && (!kitchen || recipe.kitchen === kitchen) && recipe.minutes <= limit;
  });

  function show(recipe) {
    setOpen(recipe);
    dialog.current.showModal();
  }

  function reset() {
    setQuery("");
    setKitchen(null);
    setLimit(Infinity);
  }

  return (
    <main className={styles.page}>
      <header className={styles.head}>
        <p className={styles.brand}>Larder</p>
        <h1>What can I cook tonight?</h1>
        <div className={styles.search}>
          <svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="9" cy="9" r="5.5" /><path d="m13.5 13.5 4 4" /></svg>
          <input type="search" value={query} onChange={(event) => setQuery(event.target.value)} placeholder="A dish, or what you have: eggs, tomatoes…" aria-label="Search recipes" />
        </div>
        <div className={styles.filters}>
          <div role="group" aria-label="Time">
            {TIMES.map((time) => (
              <Chip key={time.label} on={limit === time.limit} onClick={() => setLimit(time.limit)}>{time.label}</Chip>
            ))}
          </div>
          <div role="group" aria-label="Kitchen">
            {kitchens.map((name) => (
              <Chip key={name} on={kitchen === name} onClick={() => setKitchen(kitchen === name ? null : name)}>{name}</Chip>
            ))}
          </div>
        </div>
      </header>

      <p className={styles.count} role="status">{found.length === 1 ? "1 recipe" : `${found.length} recipes`}</p>
      <ul className={styles.grid}>
        {found.map((recipe) => (
          <li key={recipe.id} className={styles.card}>
            <button className={styles.open} onClick={() => show(recipe)}>
              <Plate recipe={recipe} />
              <span className={styles.words}>
                <strong>{recipe.title}</strong>
                <span>{recipe.kitchen} · {recipe.minutes} min</span>
              </span>
            </button>
          </li>
        ))}
      </ul>
      {found.length === 0 && (
        <div className={styles.nothing}>
          <h2>Nothing like that in the book</h2>
          <p>Try a single ingredient, or look at everything.</p>
          <button onClick={reset}>Show all recipes</button>
        </div>
      )}

      <dialog ref={dialog} className={styles.sheet} onClose={() => setOpen(null)} onClick={(event) => event.target === dialog.current && dialog.current.close()}>
        {open && <Recipe key={open.id} recipe={open} close={() => dialog.current.close()} />}
      </dialog>
    </main>
  );
}

function Chip({ on, children, ...rest }) {
  return <button className={styles.chip} aria-pressed={on} {...rest}>{children}</button>;
}

/** A plate seen from above, drawn from the recipe's colours. The same recipe always looks the same. */
function Plate({ recipe }) {
  const [ground, ...food] = recipe.colours;
  const seed = [...recipe.id].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 997, 7);
  const bits = Array.from({ length: 16 }, (_, index) => {
    const angle = index * 2.4 + seed;
    const far = 4 + Math.sqrt(index) * 8.6;
    return { x: 100 + Math.cos(angle) * far, y: 75 + Math.sin(angle) * far, size: 5 + ((seed * (index + 3)) % 7), colour: food[(index + seed) % food.length] };
  });
  return (
    <svg className={styles.plate} viewBox="0 0 200 150" aria-hidden="true" style={{ background: ground }}>
      <circle cx="100" cy="79" r="60" fill="#000" opacity=".08" />
      <circle cx="100" cy="75" r="60" fill="var(--plate)" />
      <circle cx="100" cy="75" r="46" fill={food[0]} opacity=".9" />
      {bits.map((bit, index) => <circle key={index} cx={bit.x.toFixed(1)} cy={bit.y.toFixed(1)} r={bit.size} fill={bit.colour} />)}
    </svg>
  );
}

function Recipe({ recipe, close }) {
  const [people, setPeople] = useState(2);
  const amount = (number) => String(Math.round(((number * people) / 2) * 10) / 10);
  return (
    <article>
      <Plate recipe={recipe} />
      <button className={styles.close} onClick={close} aria-label="Close">
        <svg viewBox="0 0 20 20" aria-hidden="true"><path d="m5 5 10 10M15 5 5 15" /></svg>
      </button>
      <div className={styles.text}>
        <h2>{recipe.title}</h2>
        <p className={styles.about}>{recipe.about}</p>
        <div className={styles.people}>
          <span>{recipe.minutes} min</span>
          <button onClick={() => setPeople(Math.max(1, people - 1))} aria-label="Fewer people">−</button>
          <output>{people === 1 ? "1 person" : `${people} people`}</output>
          <button onClick={() => setPeople(Math.min(12, people + 1))} aria-label="More people">+</button>
        </div>
        <ul className={styles.needs}>
          {recipe.needs.map(([number, unit, what]) => (
            <li key={what}><b>{amount(number)} {unit}</b> {what}</li>
          ))}
        </ul>
        <ol className={styles.steps}>
          {recipe.steps.map((step) => <li key={step}>{step}</li>)}
        </ol>
      </div>
    </article>
  );
}
