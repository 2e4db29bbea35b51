// A tiny server without dependencies: static files, the board as JSON on disk, and live reload.
import { createServer } from "node:http";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { watch } from "node:fs";
import { extname, join, normalize } from "node:path";

const PORT = Number(process.env.PORT ?? 3000);
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
const listeners = new Set();

watch("public", (_, file) => {
  // Editors write beside a file and rename; what they write is hidden until then.
  if (file.startsWith(".")) return;
  for (const response of listeners) response.write(`data: ${file}\n\n`);
});

async function body(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 1e6) throw new Error("too large");
  }
  return JSON.parse(text);
}

async function handle(request, response) {
  const path = new URL(request.url, "http://localhost").pathname;
  if (path === "/reload") {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" }).write(":\n\n");
    listeners.add(response);
    request.on("close", () => listeners.delete(response));
    return;
  }
  if (path === "/api/board" && request.method === "PUT") {
    // Written beside and renamed, so that a crash never leaves half a board.
    await mkdir("data", { recursive: true });
    await writeFile("data/board.tmp", JSON.stringify(await body(request), null, 2));
    await rename("data/board.tmp", "data/board.json");
    return response.writeHead(204).end();
  }
  if (path === "/api/board") {
    const board = await readFile("data/board.json", "utf8").catch(() => "null");
    return response.writeHead(200, { "content-type": "application/json" }).end(board);
  }
  const file = join("public", normalize(path === "/" ? "/index.html" : path));
  const content = await readFile(file);
  response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "cache-control": "no-cache" });
  response.end(content);
}

createServer((request, response) => {
  handle(request, response).catch((error) => {
    response.writeHead(error.code === "ENOENT" ? 404 : 400).end(error.code === "ENOENT" ? "Not found" : error.message);
  });
}).listen(PORT, "0.0.0.0", () => console.log(`Tideline is at http://localhost:${PORT}`));
