"""Open a page in a headless browser and receive what a script in it sends back."""

import os
import queue
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

NAMES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}
SEND = """
<script>
/** Send a value to the test: a form, since the page forbids itself every other connection. */
function send(value) {
  const form = Object.assign(document.createElement("form"), { method: "post", action: "/" });
  const field = Object.assign(document.createElement("textarea"), { name: "value" });
  field.value = JSON.stringify(value);
  form.append(field);
  document.body.append(form);
  form.submit();
}
</script>
"""


def program(browser: str) -> str | None:
    """The path of a browser, or None where it is not installed."""
    return next(filter(None, map(shutil.which, NAMES[browser])), None)


def words(browser: str, profile: Path, address: str) -> list[str]:
    """The command that opens an address without a window, with a profile of its own."""
    if browser == "firefox":
        return [program(browser), "--headless", "--no-remote", "--profile", str(profile), address]
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    return [program(browser), *options, "--window-size=1200,900", address]


@contextmanager
def served(page: str):
    """Serve one page on this machine; yield its address and the queue of what it sends."""
    received: queue.Queue[str] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(page if self.path == "/" else "")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.answer("")
            received.put(parse_qs(body)["value"][0])

        def answer(self, text: str):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", received
    finally:
        server.shutdown()
        server.server_close()


def sent(browser: str, page: str, profile: Path, seconds: float = 120) -> str:
    """Open a page that calls `send`; return what it sends, as JSON.

    Raises:
        queue.Empty: If nothing comes within `seconds`.
    """
    profile.mkdir()
    with served(page.replace("<body>", "<body>" + SEND)) as (address, received):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = words(browser, profile, address)
        process = subprocess.Popen(command, start_new_session=True, **quiet)
        try:
            return received.get(timeout=seconds)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the group that it leads: our own browser
            process.wait()
