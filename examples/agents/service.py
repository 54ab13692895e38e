"""An agent that is a service of your own: what textback asks, how it is signed, what may be answered.

Run it with the secret that POST /v1/agents gave you:

    TEXTBACK_SIGNING_SECRET=whsec_... python3 examples/agents/service.py --port 9000

Only the standard library is used, so that every line of the contract is here to be seen.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(os.environ.get("TEXTBACK_SIGNING_SECRET", "").removeprefix("whsec_"))
if not SECRET:
    # With an empty secret, anyone could sign.
    raise SystemExit("TEXTBACK_SIGNING_SECRET is not set; set it to the signing_secret of the agent, which begins with whsec_")
# Answers by turn: a turn that is asked again, since our answer was lost, gets the same one.
ANSWERS = {}


def is_signed(headers, body):
    """Whether textback sent it, lately: HMAC-SHA256 over id.timestamp.body, as https://www.standardwebhooks.com says."""
    turn, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > 300:
        return False
    mac = hmac.new(SECRET, f"{turn}.{sent}.".encode() + body, hashlib.sha256).digest()
    ours = "v1," + base64.b64encode(mac).decode()
    # While the secret is being changed there is one signature for each.
    return any(hmac.compare_digest(ours, theirs) for theirs in headers.get("webhook-signature", "").split())


def answer(asked):
    """The answer to a turn: texts, the state that comes back with the next one, and whether this was the end."""
    texts = [message["text"] for message in asked["messages"]]
    count = asked["conv"]["state"].get("count", 0) + len(texts)
    if texts[-1].strip().lower() == "bye":
        return {"messages": ["Bye!"], "hangup": True}
    return {"messages": [f"{count}: {' '.join(texts)}"], "state": {"count": count}}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not is_signed(self.headers, body):
            self.send_error(401, "the signature does not fit")
            return
        asked = json.loads(body)
        said = ANSWERS.setdefault(asked["turn_id"], answer(asked))
        encoded = json.dumps(said).encode()
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
