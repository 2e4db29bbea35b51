(() => {
  const main = document.querySelector("main");
  const at = (id) => document.getElementById(id);
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const show = (now) => {
    main.dataset.state = now.state;
    at("start").hidden = now.state !== "down";
    if (now.title !== undefined) {
      set(at("title"), now.title);
      set(at("detail"), now.detail);
      const output = at("output");
      output.hidden = !now.output;
      if (output.textContent !== now.output) {
        const below = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
        output.textContent = now.output;
        if (below) output.scrollTop = output.scrollHeight;
      }
    }
    const ports = at("ports");
    ports.hidden = !now.ports.length;
    ports.replaceChildren(...now.ports.flatMap((open) => {
      const link = document.createElement("a");
      link.href = open.url;
      link.textContent = open.port;
      return [" ", link];
    }));
    if (now.ports.length) ports.prepend("Open now:");
  };
  const ask = async (method) => {
    const answer = await fetch(location.href, { method, headers: { "x-sandcastle-poll": "1" }, cache: "no-store" });
    return answer.json();
  };
  let wait = 400;
  const poll = async () => {
    try {
      const now = await ask("GET");
      if (now.state === "ready") return location.reload();
      show(now);
      wait = now.state === "waiting" ? Math.min(wait * 1.1, 1500) : 3000;
    } catch { wait = 3000; }
    setTimeout(poll, document.hidden ? 5000 : wait);
  };
  at("start").addEventListener("click", async (event) => {
    event.target.disabled = true;
    try { show(await ask("POST")); } catch { wait = 400; }
    event.target.disabled = false;
    wait = 400;
  });
  const live = JSON.parse(main.dataset.live || "{\"state\":\"waiting\",\"ports\":[]}");
  show(live);
  const output = at("output");
  output.scrollTop = output.scrollHeight;
  setTimeout(poll, wait);
})();
