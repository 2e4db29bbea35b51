"""HTTP server with the standard library only. Code and styles reload by themselves while you edit them."""

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import app

ROOT = Path(__file__).parent
PORT = int(os.environ.get("PORT", "3000"))


def version():
    """Changes whenever a file does, or the process is another."""
    files = [*ROOT.glob("*.py"), ROOT / "style.css"]
    return f"{os.getpid()}-{max(file.stat().st_mtime_ns for file in files)}"


def watch():
    """Starts the program again in the same process when its code changes, unless the new code does not parse."""
    seen = {file: file.stat().st_mtime_ns for file in ROOT.glob("*.py")}
    while True:
        time.sleep(0.3)
        now = {file: file.stat().st_mtime_ns for file in ROOT.glob("*.py")}
        if now == seen:
            continue
        seen = now
        try:
            for file in now:
                compile(file.read_text(), file.name, "exec")
        except SyntaxError as error:
            print(f"not reloaded: {error}", flush=True)
            continue
        print("code changed, starting again", flush=True)
        os.execv(sys.executable, [sys.executable, *sys.argv])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlparse(self.path)
        if url.path == "/":
            self.answer(app.page(parse_qs(url.query)), "text/html")
        elif url.path == "/style.css":
            self.answer((ROOT / "style.css").read_text(), "text/css")
        elif url.path == "/reload":
            self.reload()
        else:
            self.answer("Not found", "text/plain", 404)

    def answer(self, text, kind, status=200):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.wfile.write(body)

    def reload(self):
        """Tells the page the version now and whenever it changes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        told = None
        try:
            while True:
                current = version()
                if current != told:
                    self.wfile.write(f"retry: 300\ndata: {current}\n\n".encode())
                    told = current
                time.sleep(0.3)
        except OSError:
            pass  # The page was closed.
        self.close_connection = True

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    threading.Thread(target=watch, daemon=True).start()
    print(f"The dashboard is at http://localhost:{PORT}", flush=True)
    ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
