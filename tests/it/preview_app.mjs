// The app behind the preview tests: plain node, one behaviour a path.
import { createServer } from "node:http";
import { createHash } from "node:crypto";

const port = Number(process.argv[2]);
let release = null;

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/") {
    response.writeHead(200, {
      "content-type": "text/html; charset=utf-8",
      "x-frame-options": "DENY",
      "content-security-policy": "script-src 'self'; frame-ancestors 'none'",
      "set-cookie": ["a=1; Domain=localhost; Path=/", "sandcastle_token=stolen"],
    });
    response.end("<!doctype html><html><head><title>App</title></head><body>hello</body></html>");
  } else if (url.pathname === "/headers") {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ method: request.method, url: request.url, ...request.headers }));
  } else if (url.pathname === "/redirect") {
    response.writeHead(302, { location: `http://localhost:${port}/next?x=1` }).end();
  } else if (url.pathname === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: one\n\n");
    release = () => response.end("data: two\n\n");
  } else if (url.pathname === "/release") {
    release();
    response.end("released");
  } else if (url.pathname === "/upload") {
    const hash = createHash("sha256");
    let size = 0;
    request.on("data", (chunk) => { hash.update(chunk); size += chunk.length; });
    request.on("end", () => response.end(`${size} ${hash.digest("hex")}`));
  } else if (url.pathname === "/hang-up") {
    request.socket.destroy();
  } else {
    response.writeHead(404).end("the app's own 404");
  }
});

// A WebSocket that sends back every short text frame.
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${createHash("sha1").update(key).digest("base64")}\r\n\r\n`);
  socket.on("data", (frame) => {
    const length = frame[1] & 127;
    const text = Buffer.from(frame.subarray(6, 6 + length).map((byte, at) => byte ^ frame[2 + (at % 4)]));
    socket.write(Buffer.concat([Buffer.from([0x81, length]), text]));
  });
  socket.on("error", () => {});
});

server.listen(port, "127.0.0.1", () => console.log("listening"));
