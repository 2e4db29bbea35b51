const LABELS = { design: "Design", build: "Build", words: "Words", people: "People" };
const START = {
  lanes: [
    { id: "ideas", title: "Ideas" },
    { id: "next", title: "Next" },
    { id: "doing", title: "In progress" },
    { id: "done", title: "Done" },
  ],
  cards: [
    { id: "1", lane: "ideas", label: "people", title: "Invite the first fifty customers to a preview", note: "" },
    { id: "2", lane: "ideas", label: "design", title: "A tide chart as the loading state", note: "Only if it loads longer than a second." },
    { id: "3", lane: "next", label: "words", title: "Write the announcement", note: "Short, with one picture. Lena reads it first." },
    { id: "4", lane: "next", label: "build", title: "Import from spreadsheets", note: "" },
    { id: "5", lane: "doing", label: "build", title: "Offline mode for the field team", note: "Sync when the signal is back." },
    { id: "6", lane: "doing", label: "design", title: "New icon set in two sizes", note: "" },
    { id: "7", lane: "done", label: "people", title: "Interview five harbour masters", note: "Notes are in the shared folder." },
    { id: "8", lane: "done", label: "build", title: "Move to the new hosting", note: "" },
  ],
};

const $ = (id) => document.getElementById(id);
let board = START;
let composing = null;

function visible() {
  return board.cards;
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter(Boolean));
  return node;
}

function cardView(card) {
  return element(
    "li",
    {
      class: `card${card.lane === "done" ? " done" : ""}`,
      draggable: "true",
      tabindex: "0",
      "data-id": card.id,
      "aria-label": `${card.title}. Arrow keys move it, Enter edits.`,
      ondragstart: (event) => {
        event.dataTransfer.setData("text/plain", card.id);
        event.currentTarget.classList.add("dragging");
      },
      ondragend: (event) => event.currentTarget.classList.remove("dragging"),
      ondblclick: () => edit(card),
      onclick: () => matchMedia("(hover: none)").matches && edit(card),
      onkeydown: (event) => keys(event, card),
    },
    card.label && element("span", { class: "label", "data-label": card.label }, LABELS[card.label]),
    element("h3", {}, card.title),
    card.note && element("p", {}, card.note),
  );
}

function laneView(lane) {
  const cards = visible().filter((card) => card.lane === lane.id);
  const plus = element("button", { class: "add", "aria-label": `Add a card to ${lane.title}`, onclick: () => compose(lane.id) });
  plus.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 3v10M3 8h10"/></svg>';
  const list = element("ul", { class: "cards" }, ...cards.map(cardView));
  if (!cards.length && composing !== lane.id) list.append(element("li", { class: "empty" }, "Nothing here. Drop a card or add one."));
  return element(
    "section",
    {
      class: "lane",
      "aria-label": lane.title,
      ondragover: (event) => {
        event.preventDefault();
        event.currentTarget.classList.add("over");
      },
      ondragleave: (event) => event.currentTarget.classList.remove("over"),
      ondrop: (event) => drop(event, lane.id),
    },
    element("header", {}, element("h2", {}, lane.title), element("span", { class: "count" }, String(cards.length)), plus),
    composing === lane.id && composer(lane.id),
    list,
  );
}

function composer(lane) {
  const text = element("textarea", { rows: "2", placeholder: "What is to be done?", "aria-label": "Title of the new card", onblur: () => close() });
  const close = () => {
    const title = text.value.trim();
    composing = null;
    if (title) change(() => board.cards.unshift({ id: crypto.randomUUID?.() ?? String(Date.now()), lane, label: "", title, note: "" }));
    else draw();
  };
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      text.blur();
    }
    if (event.key === "Escape") {
      text.value = "";
      text.blur();
    }
  });
  queueMicrotask(() => text.focus());
  return element("div", { class: "composer" }, text);
}

function draw() {
  const focused = document.activeElement?.dataset?.id;
  $("board").replaceChildren(...board.lanes.map(laneView));
  const done = board.cards.filter((card) => card.lane === "done").length;
  const percent = board.cards.length ? Math.round((100 * done) / board.cards.length) : 0;
  $("bar").style.width = `${percent}%`;
  $("percent").textContent = `${percent} % done`;
  $("summary").textContent = `${board.cards.length - done} open, ${done} done`;
  if (focused) document.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}

async function change(apply) {
  apply();
  draw();
  const saved = await fetch("api/board", { method: "PUT", body: JSON.stringify(board) }).catch(() => null);
  if (!saved?.ok) $("summary").textContent = "Not saved: the server does not answer.";
}

function compose(lane) {
  composing = lane;
  draw();
}

function drop(event, lane) {
  event.preventDefault();
  const card = board.cards.find((card) => card.id === event.dataTransfer.getData("text/plain"));
  const before = event.target.closest(".card")?.dataset.id;
  if (!card || card.id === before) return draw();
  change(() => {
    board.cards = board.cards.filter((other) => other !== card);
    const at = before ? board.cards.findIndex((other) => other.id === before) : board.cards.length;
    board.cards.splice(at, 0, { ...card, lane });
  });
}

function keys(event, card) {
  if (event.key === "Enter") return edit(card);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const lane = board.lanes[board.lanes.findIndex((lane) => lane.id === card.lane) + step];
  if (!lane) return;
  change(() => (card.lane = lane.id));
  $("announce").textContent = `${card.title} moved to ${lane.title}`;
}

function edit(card) {
  const dialog = $("editor");
  const form = dialog.querySelector("form");
  form.title.value = card.title;
  form.note.value = card.note;
  const option = ([id, name]) =>
    element("label", {}, element("input", { type: "radio", name: "label", value: id, checked: card.label === id }), element("span", { class: "label", "data-label": id }, name));
  $("labels").replaceChildren(...Object.entries(LABELS).map(option));
  dialog.returnValue = "cancel";
  dialog.onclose = () => {
    if (dialog.returnValue === "delete") change(() => (board.cards = board.cards.filter((other) => other !== card)));
    if (dialog.returnValue === "save") {
      change(() => Object.assign(card, { title: form.title.value.trim() || card.title, note: form.note.value.trim(), label: form.label.value }));
    }
  };
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, dialog") || event.metaKey || event.ctrlKey || event.altKey;
  if (event.key.toLowerCase() === "n" && !typing) {
    event.preventDefault();
    compose("ideas");
  }
});

// Styles change in place; anything else reloads the page.
new EventSource("reload").onmessage = ({ data }) => {
  const sheet = document.querySelector('link[rel="stylesheet"]');
  if (data.endsWith(".css")) sheet.href = `style.css?${Date.now()}`;
  else location.reload();
};

draw();
fetch("api/board")
  .then((response) => response.json())
  .then((saved) => {
    board = saved ?? START;
    draw();
  })
  .catch(() => ($("summary").textContent = "The server does not answer."));
