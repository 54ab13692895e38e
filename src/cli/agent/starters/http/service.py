"""An agent that is a service. It needs only Python 3.8 or newer.

    python3 service.py --port 9000
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The signing_secret that textback agent push prints. Without it requests are not checked, which is
# only for this machine.
SECRET = base64.b64decode(os.environ.get("TEXTBACK_SIGNING_SECRET", "").removeprefix("whsec_"))


def is_signed(headers, body):
    """Whether textback sent it in the last five minutes (https://www.standardwebhooks.com)."""
    turn, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > 300:
        return False
    mac = hmac.new(SECRET, f"{turn}.{sent}.".encode() + body, hashlib.sha256).digest()
    ours = "v1," + base64.b64encode(mac).decode()
    return any(hmac.compare_digest(ours, theirs) for theirs in headers.get("webhook-signature", "").split())


def answer(turn):
    """The answer to a turn: its texts, and the state that comes back with the next turn."""
    texts = [message["text"] for message in turn["messages"]]
    count = turn["conv"]["state"].get("count", 0) + len(texts)
    if texts[-1].strip().lower() == "bye":
        return {"utterance": "Bye!", "hangup": True}
    return {"utterance": f"{count}: {' '.join(texts)}", "state": {"count": count}}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if SECRET and not is_signed(self.headers, body):
            self.send_error(401, "the signature does not fit")
            return
        encoded = json.dumps(answer(json.loads(body))).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--port", type=int, default=9000)
    server = ThreadingHTTPServer(("127.0.0.1", options.parse_args().port), Handler)
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever()
