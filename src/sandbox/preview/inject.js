(() => {
  const me = document.currentScript;
  if (me) me.remove();
  if (window.parent === window) return;
  let budget = 40;
  setInterval(() => { budget = 40; }, 10000);
  const send = (type, data) => {
    if (budget-- <= 0) return;
    window.parent.postMessage({ source: "sandcastle-preview", type, url: location.href, ...data }, "*");
  };
  const text = (value) => {
    try {
      if (value instanceof Error) return value.stack || String(value);
      return typeof value === "object" ? JSON.stringify(value) : String(value);
    } catch { return String(value); }
  };
  const cut = (value) => text(value).slice(0, 4000);
  addEventListener("error", (event) => {
    if (event.target !== window && event.target && event.target.tagName) {
      const target = event.target;
      send("error", { message: "could not load " + (target.src || target.href || target.tagName) });
    } else {
      send("error", {
        message: String(event.message).slice(0, 1000), file: event.filename, line: event.lineno,
        column: event.colno, stack: event.error ? cut(event.error) : "",
      });
    }
  }, true);
  addEventListener("unhandledrejection", (event) => send("error", { message: cut(event.reason) }));
  const error = console.error;
  console.error = function (...values) {
    send("console", { level: "error", text: values.map(cut).join(" ").slice(0, 4000) });
    return error.apply(this, values);
  };
  let last = "";
  const moved = () => {
    if (location.href === last) return;
    last = location.href;
    send("navigate", { title: document.title });
  };
  for (const name of ["pushState", "replaceState"]) {
    const original = history[name];
    history[name] = function (...values) {
      const result = original.apply(this, values);
      moved();
      return result;
    };
  }
  addEventListener("popstate", moved);
  addEventListener("hashchange", moved);
  addEventListener("load", () => { moved(); send("ready", { title: document.title }); });
  addEventListener("message", (event) => {
    const data = event.data;
    if (event.source !== window.parent || !data || data.source !== "sandcastle") return;
    if (data.type === "reload") location.reload();
    if (data.type === "back") history.back();
    if (data.type === "forward") history.forward();
  });
  moved();
})();
