"""Tells the status of an order by text. It needs only Python 3.8 or newer.

    python3 service.py --port 9000
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
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


# A real service asks the shop's database.
ORDERS = {"4711": "It left our warehouse this morning.", "4712": "It was delivered yesterday."}


def answer(turn):
    """The answer to a turn: the status of the order that the texts name."""
    text = " ".join(message["text"] for message in turn["messages"])
    number = re.search(r"\b\d{4}\b", text)
    if text.strip().lower() in ("bye", "thanks", "thank you"):
        return {"utterance": "You're welcome. Bye!", "hangup": True}
    if number is None:
        return {"utterance": "What's the number of your order? It has four digits."}
    status = ORDERS.get(number.group())
    if status is None:
        return {"utterance": f"We have no order {number.group()}. Please check the number."}
    return {"utterance": f"Order {number.group()}: {status}", "state": {"order": number.group()}}


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
