// Development only: reloads the page when `cargo leptos watch` has built it again, and waits for the server's return.
(() => {
  const connect = (again) => {
    const socket = new WebSocket(`ws://${location.hostname}:RELOAD_PORT/live_reload`);
    socket.onopen = () => again && location.reload();
    socket.onmessage = (event) => {
      const { all, css } = JSON.parse(event.data);
      if (all || css) location.reload();
    };
    socket.onclose = () => setTimeout(() => connect(true), 500);
  };
  connect(false);
})();
