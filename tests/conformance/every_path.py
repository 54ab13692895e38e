"""Every operation of Twilio's two documents: mocks made of them judge the calls, valid and invalid, and proxies judge what the simulator answers; each check is a line of JSON."""

import base64
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request

ACCOUNT_SID, AUTH_TOKEN, SPEC = os.environ["ACCOUNT_SID"], os.environ["AUTH_TOKEN"], os.environ["SPEC"]
DOCUMENTS = [
    ("twilio_api_v2010.prism.json", os.environ["MOCK_API"].rstrip("/"), os.environ["PROXY_API"].rstrip("/")),
    ("twilio_messaging_v1.prism.json", os.environ["MOCK_MESSAGING"].rstrip("/"), os.environ["PROXY_MESSAGING"].rstrip("/")),
]
# What the simulator has of each kind: taken from it below.
NAMED = {"CountryCode": "US", "AccountSid": ACCOUNT_SID}
HEX = "0123456789abcdef0123456789abcdef"


def check(what, ok, told=None):
    print(json.dumps({"what": "every path: " + what, "ok": bool(ok), "told": str(told)}), flush=True)


def call(base, method, path, form=None, login=True):
    """The status and the body of an answer."""
    data = urllib.parse.urlencode(form, doseq=True).encode() if form is not None else (b"" if method == "POST" else None)
    request = urllib.request.Request(base + path, data, method=method)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(("%s:%s" % (ACCOUNT_SID, AUTH_TOKEN)).encode()).decode())
    if data is not None:
        request.add_header("Content-Type", "application/x-www-form-urlencoded")
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, answer.read().decode("utf-8", "replace")


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].split("/")[-1]]
    return schema


def value(document, schema):
    """A value that a schema allows."""
    schema = resolved(document, schema)
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [value(document, schema["items"])] * max(2, schema.get("minItems", 0))
    if schema.get("type") == "boolean":
        return "true"
    if schema.get("type") == "integer":
        return "1"
    prefix = re.match(r"\^([A-Z]{2})\[", schema.get("pattern", ""))
    if prefix:
        return prefix.group(1) + HEX
    return {"uri": "https://sms.example.com/", "phone-number": "+14155550101"}.get(schema.get("format"), "words")  # no blank: Prism takes its code in a list for a reserved character


def form_of(document, operation):
    """The fields that a call must have, and one group of those of which it needs one; None without a body."""
    body = operation.get("requestBody")
    if not body:
        return None
    schema = body["content"]["application/x-www-form-urlencoded"]["schema"]
    needed = list(schema.get("required", []))
    for group in schema.get("allOf", []):
        needed += group["anyOf"][0]["required"]
    return {name: value(document, schema["properties"][name]) for name in needed}


def filled(path, document_operation, item, names):
    """A path with its parameters: those of the simulator where it has them."""

    def fill(match):
        name = match.group(1)
        if name in NAMED:
            return NAMED[name]
        known = names.get((path, name)) or names.get(name)
        if known:
            return known
        for parameter in document_operation.get("parameters", []) + item.get("parameters", []):
            prefix = re.match(r"\^([A-Z]{2})\[", parameter.get("schema", {}).get("pattern", "")) if parameter["name"] == name else None
            if prefix:
                return prefix.group(1) + HEX
        return "x" * 34

    return re.sub(r"\{(\w+)\}", fill, path)


def of_the_simulator():
    """What the simulator has, so that its answers are more than refusals."""
    api, messaging = DOCUMENTS[0][2], DOCUMENTS[1][2]
    account = "/2010-04-01/Accounts/" + ACCOUNT_SID
    read = lambda base, path: json.loads(call(base, "GET", path)[1])
    toll_free = read(api, account + "/AvailablePhoneNumbers/US/TollFree.json")["available_phone_numbers"][0]["phone_number"]
    bought = json.loads(call(api, "POST", account + "/IncomingPhoneNumbers.json", {"PhoneNumber": toll_free})[1])
    sent = json.loads(call(api, "POST", account + "/Messages.json", {"To": "+14155550101", "From": toll_free, "Body": "look", "MediaUrl": ["https://pictures.example/1.jpg"]})[1])
    media = read(api, "%s/Messages/%s/Media.json" % (account, sent["sid"]))["media_list"]
    service = read(messaging, "/v1/Services")["services"][0]["sid"]
    campaign = read(messaging, "/v1/Services/%s/Compliance/Usa2p" % service)["compliance"][0]
    verification = read(messaging, "/v1/Tollfree/Verifications")["verifications"][0]
    message = "/2010-04-01/Accounts/{AccountSid}/Messages"
    return {
        "MessageSid": sent["sid"],
        (message + "/{Sid}.json", "Sid"): sent["sid"],
        (message + "/{MessageSid}/Media/{Sid}.json", "Sid"): media[0]["sid"],
        ("/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers/{Sid}.json", "Sid"): bought["sid"],
        "ServiceSid": service,
        "MessagingServiceSid": service,
        ("/v1/Services/{Sid}", "Sid"): service,
        ("/v1/Services/{ServiceSid}/PhoneNumbers/{Sid}", "Sid"): bought["sid"],
        ("/v1/Services/{MessagingServiceSid}/Compliance/Usa2p/{Sid}", "Sid"): campaign["sid"],
        "BrandSid": campaign["brand_registration_sid"],
        "BrandRegistrationSid": campaign["brand_registration_sid"],
        ("/v1/a2p/BrandRegistrations/{Sid}", "Sid"): campaign["brand_registration_sid"],
        ("/v1/Tollfree/Verifications/{Sid}", "Sid"): verification["sid"],
    }


names = of_the_simulator()
documents = [(json.load(open(os.path.join(SPEC, name))), mock, proxy) for name, mock, proxy in DOCUMENTS]
tried = [
    (document, mock, proxy, path, item, verb)
    # What is deleted is not there any more for the others: last.
    for verb in ("GET", "POST", "DELETE")
    for document, mock, proxy in documents
    for path, item in document["paths"].items()
    if verb.lower() in item
]
offered = 0
for document, mock, proxy, path, item, verb in tried:
    operation, what = item[verb.lower()], "%s %s" % (verb, path)
    form = form_of(document, operation)
    here = filled(path, operation, item, names)
    status, body = call(mock, verb, here, form)
    check("mock: %s is taken" % what, 200 <= status < 300, (status, body))
    status, body = call(mock, verb, here, form, login=False)
    check("mock: %s without a login is refused" % what, status == 401, (status, body))
    if form:
        status, body = call(mock, verb, here, {"Unknown": "x"})
        check("mock: %s without its fields is refused" % what, status == 400, (status, body))
    sid = next((sid for sid in re.findall(r"[A-Z]{2}[0-9a-f]{32}", here)), None)
    if sid:
        status, body = call(mock, verb, here.replace(sid, "XX1"), form)
        check("mock: %s of what is no id is refused" % what, status == 400, (status, body))
    # The proxy answers with a problem of its own where the simulator leaves the document.
    status, body = call(proxy, verb, here, form)
    done = 200 <= status < 300
    offered += done
    in_its_words = status in (400, 404) and '"more_info"' in body
    check("simulator: %s answers in the document's shape (%s)" % (what, status), "stoplight.io" not in body and (done or in_its_words), (status, body))
paths = len({path for _, _, _, path, _, _ in tried})
check("%d paths with %d operations were tried, the simulator offers %d of them" % (paths, len(tried), offered), offered >= 29, offered)
