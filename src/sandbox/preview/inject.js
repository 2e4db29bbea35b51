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
  // A page that holds a line to its server, as hot reload does, follows changes by itself.
  const lines = new Set();
  const follows = () => {
    for (const line of lines) if (line.readyState > 1) lines.delete(line);
    return lines.size > 0;
  };
  for (const name of ["WebSocket", "EventSource"]) {
    if (!window[name]) continue;
    window[name] = new Proxy(window[name], {
      construct(...how) {
        const line = Reflect.construct(...how);
        follows();
        lines.add(line);
        return line;
      },
    });
  }
  // Also to the server, which has the agent repair it. Kept before the app can replace fetch.
  const post = window.fetch && window.fetch.bind(window);
  const report = (kind, title, detail) => {
    if (!post || budget <= 0) return;
    const body = JSON.stringify({
      kind, title: String(title).slice(0, 300), detail: String(detail || "").slice(0, 4000),
      age: Math.round(performance.now()), follows: follows(),
    });
    post("/.sandcastle/report", { method: "POST", body, keepalive: true }).catch(() => {});
  };
  const text = (value) => {
    try {
      if (value instanceof Error) return value.stack || String(value);
      return typeof value === "object" ? JSON.stringify(value) : String(value);
    } catch { return String(value); }
  };
  const cut = (value) => text(value).slice(0, 4000);
  // A page that came without its scripts or styles is not whole; the workbench loads it again when it can.
  let whole = true;
  const ready = () => { if (whole) send("ready", { title: document.title }); };
  addEventListener("error", (event) => {
    if (event.target !== window && event.target && event.target.tagName) {
      const target = event.target;
      const message = "could not load " + (target.src || target.href || target.tagName);
      send("error", { message });
      if (!/^(SCRIPT|LINK)$/.test(target.tagName)) return;
      whole = document.readyState === "complete" && whole;
      report("browser", message, location.pathname);
    } else {
      send("error", {
        message: String(event.message).slice(0, 1000), file: event.filename, line: event.lineno,
        column: event.colno, stack: event.error ? cut(event.error) : "",
      });
      report("browser", event.message, (event.error ? cut(event.error) : event.filename + ":" + event.lineno) + "\nat " + location.pathname);
    }
  }, true);
  addEventListener("unhandledrejection", (event) => {
    send("error", { message: cut(event.reason) });
    report("browser", "Unhandled rejection: " + cut(event.reason).split("\n")[0], cut(event.reason) + "\nat " + location.pathname);
  });
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
  const blank = () => {
    const body = document.body;
    const drawn = "img,svg,canvas,video,iframe,input,button,object,embed";
    if (document.visibilityState === "visible" && body && !body.innerText.trim() && !body.querySelector(drawn)) {
      report("blank", "The page " + location.pathname + " stays empty", document.documentElement.outerHTML.slice(0, 2000));
    }
  };
  addEventListener("load", () => { setTimeout(blank, 5000); moved(); ready(); });
  addEventListener("pagehide", () => send("left"));
  addEventListener("message", (event) => {
    const data = event.data;
    if (event.source !== window.parent || !data || data.source !== "sandcastle") return;
    if (data.type === "hello" && document.readyState === "complete") ready();
    if (data.type === "changed" && !follows()) location.reload();
    if (data.type === "back") history.back();
    if (data.type === "forward") history.forward();
  });
  moved();
})();
