"""Twilio's own Python client drives the simulator, and its validator judges signatures; each check is a line of JSON."""

import http.server
import json
import os
import random
import threading
import urllib.error
import urllib.parse
import urllib.request

from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

SIMULATOR, WEBHOOK = os.environ["SIMULATOR"], os.environ["WEBHOOK"]
ACCOUNT_SID, AUTH_TOKEN, NUMBER = os.environ["ACCOUNT_SID"], os.environ["AUTH_TOKEN"], os.environ["NUMBER"]
SHORT_CODE = os.environ["SHORT_CODE"]
PHONE = "+14155550101"
TEXTS = 1000


def check(what, ok, told=None):
    print(json.dumps({"what": "python: " + what, "ok": bool(ok), "told": str(told)}), flush=True)


client = Client(ACCOUNT_SID, AUTH_TOKEN)
client.api.base_url = SIMULATOR
client.messaging.base_url = SIMULATOR

# Messages.
sent = client.messages.create(to=PHONE, from_=NUMBER, body="from the official client", media_url=["https://pictures.example/1.jpg"])
check("create a message", sent.sid.startswith("SM") and sent.status == "queued" and sent.num_media == "1", vars(sent))
read = client.messages(sent.sid).fetch()
check("fetch it", read.body == "from the official client" and read.date_created is not None, vars(read))
listed = client.messages.list(to=PHONE, from_=NUMBER, limit=20)
check("list it", [message.sid for message in listed].count(sent.sid) == 1, listed)
check("list its media", len(client.messages(sent.sid).media.list(limit=20)) == 1)
for attempt in (dict(to="nobody", from_=NUMBER, body="x"), dict(to=PHONE, from_="+14155559999", body="x"), dict(to=PHONE, from_=NUMBER, body="x" * 1601)):
    try:
        client.messages.create(**attempt)
        check("a wrong message is refused", False, attempt)
    except TwilioRestException as error:
        check("a wrong message is refused with a code", error.status == 400 and error.code in (21211, 21606, 21617), error)
try:
    wrong = Client(ACCOUNT_SID, "wrong")
    wrong.api.base_url = SIMULATOR
    wrong.messages(sent.sid).fetch()
    check("a wrong token is refused", False)
except TwilioRestException as error:
    check("a wrong token is refused", error.status == 401 and error.code == 20003, error)

# Numbers.
found = client.available_phone_numbers("US").local.list(contains="55501", sms_enabled=True, limit=5)
check("search numbers", len(found) == 5 and found[0].capabilities["SMS"], found)
bought = client.incoming_phone_numbers.create(phone_number=found[0].phone_number, sms_url="https://sms.example.com/sms", sms_method="POST")
check("buy a number", bought.sid.startswith("PN") and bought.sms_url == "https://sms.example.com/sms", vars(bought))
changed = client.incoming_phone_numbers(bought.sid).update(friendly_name="renamed")
check("change it", changed.friendly_name == "renamed" and changed.sms_url == "https://sms.example.com/sms", vars(changed))
check("list it", [number.sid for number in client.incoming_phone_numbers.list(phone_number=bought.phone_number)] == [bought.sid])
check("fetch it", client.incoming_phone_numbers(bought.sid).fetch().phone_number == bought.phone_number)

# Short codes.
codes = client.short_codes.list(short_code=SHORT_CODE[:4])
check("list short codes", [code.short_code for code in codes] == [SHORT_CODE] and codes[0].sid.startswith("SC"), codes)
check("find no other short code", client.short_codes.list(short_code="99999") == [])
changed = client.short_codes(codes[0].sid).update(sms_url="https://sms.example.com/sms", sms_method="POST", sms_fallback_url="https://sms.example.com/f")
check("change a short code", changed.sms_url == "https://sms.example.com/sms" and changed.date_updated is not None, vars(changed))
fetched = client.short_codes(codes[0].sid).fetch()
check("fetch it", fetched.sms_fallback_url == "https://sms.example.com/f" and fetched.short_code == SHORT_CODE, vars(fetched))
from_code = client.messages.create(to=PHONE, from_=SHORT_CODE, body="from a short code")
check("send from it", from_code.from_ == SHORT_CODE, vars(from_code))
members = [member for service in client.messaging.v1.services.list(limit=20) for member in client.messaging.v1.services(service.sid).short_codes.list(limit=20)]
check("list it in its messaging service", [member.short_code for member in members] == [SHORT_CODE], members)

# Messaging services and registrations.
services = client.messaging.v1.services.list(limit=20)
check("list messaging services", len(services) >= 1 and services[0].use_inbound_webhook_on_number is True, services)
service = client.messaging.v1.services(services[0].sid)
check("list a service's numbers", bought.sid in [number.sid for number in service.phone_numbers.list(limit=50)])
campaigns = service.us_app_to_person.list(limit=20)
check("list its campaigns", [campaign.campaign_status for campaign in campaigns] == ["VERIFIED"], campaigns)
brand = client.messaging.v1.brand_registrations(campaigns[0].brand_registration_sid).fetch()
check("fetch the brand", str(brand.status).endswith("APPROVED"), brand.status)
check("list toll-free verifications", client.messaging.v1.tollfree_verifications.list(limit=20) == [])

check("release the number", client.incoming_phone_numbers(bought.sid).delete())

# Signatures. Bodies of all kinds of characters, names that repeat a beginning, and empty values.
random.seed(7)
validator = RequestValidator(AUTH_TOKEN)
LETTERS = "abc XYZ 019 &=%+#?/ äß é 日本 🎉 \n\t\"'<>;"


def some_text(most):
    return "".join(random.choice(LETTERS) for _ in range(random.randrange(most)))


# 1. What the simulator signs.
heard = []


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        params = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        url = "http://%s%s" % (self.headers["Host"], self.path)
        heard.append((validator.validate(url, params, self.headers["X-Twilio-Signature"]), params["Body"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.end_headers()
        self.wfile.write(b"<Response/>")

    def log_message(self, *_):
        pass


hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
threading.Thread(target=hook.serve_forever, daemon=True).start()
own = client.incoming_phone_numbers.create(
    phone_number=found[1].phone_number, sms_url="http://127.0.0.1:%d/sms?a=1&b=%%C3%%A4#rc=2" % hook.server_port
)
said = []
for _ in range(TEXTS):
    body = some_text(80)
    said.append(body)
    text = json.dumps({"from": PHONE, "to": own.phone_number, "body": body}).encode()
    urllib.request.urlopen(urllib.request.Request(SIMULATOR + "/simulator/texts", text, {"Content-Type": "application/json"})).read()
right = sum(1 for valid, _ in heard if valid)
check("%d signatures of the simulator are right" % TEXTS, right == TEXTS and [body for _, body in heard] == said, (right, len(heard)))
hook.shutdown()

# 2. What our door thinks of signatures: the same as the validator, of right ones and of wrong ones.
agree = refused = 0
for n in range(TEXTS):
    names = ["Body", "From", "Reason", "ReasonConferenceEnded", "MediaUrl1", "MediaUrl10", "MediaUrl2", "x" + str(n)]
    params = {name: some_text(60) for name in random.sample(names, random.randrange(1, len(names)))}
    url = WEBHOOK + "/check" + random.choice(["", "?delivery=1", "?a=%20b&a=c"])
    signature = validator.compute_signature(url, params)
    fault = random.choice(["none", "none", "value", "name", "url", "signature"])
    claimed = dict(params)
    if fault == "value":
        name = random.choice(list(claimed))
        claimed[name] += "x"
    elif fault == "name":
        claimed["y"] = ""
    elif fault == "signature":
        signature = signature[:-3] + ("AA=" if signature[-3:] != "AA=" else "BB=")
    called = url + ("&z=1" if "?" in url else "?z=1") if fault == "url" else url
    expected = validator.validate(called, claimed, signature)
    request = urllib.request.Request(
        called,
        urllib.parse.urlencode(claimed).encode(),
        {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"},
    )
    try:
        taken = urllib.request.urlopen(request).status == 204
    except urllib.error.HTTPError as error:
        taken = False
        if error.code != 403:
            check("the door answers 204 or 403", False, error.code)
    agree += taken == expected
    refused += not expected
check("the door and the validator agree on %d bodies, %d of them wrong" % (TEXTS, refused), agree == TEXTS and 0 < refused < TEXTS, agree)
