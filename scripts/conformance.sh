#!/bin/sh
# Runs the client and the simulator against Twilio's own OpenAPI documents, as validating mocks and
# proxies on loopback, and against Twilio's own Python client. TEXTBACK_TWILIO_SPEC names the folder
# with the documents.
set -eu
cd "$(dirname "$0")/.."

spec=${TEXTBACK_TWILIO_SPEC:-../shared/twilio/spec}
for document in twilio_api_v2010 twilio_messaging_v1; do
    if [ ! -f "$spec/$document.prism.json" ]; then
        echo "$spec/$document.prism.json is missing; set TEXTBACK_TWILIO_SPEC to the folder that has it" >&2
        exit 1
    fi
done
for program in node npm python3; do
    command -v "$program" >/dev/null 2>&1 || { echo "$program is missing; the mocks need node 20, the client Python 3.9" >&2; exit 1; }
done

TEXTBACK_TWILIO_SPEC=$(cd "$spec" && pwd)
export TEXTBACK_TWILIO_SPEC
tools=target/conformance
mkdir -p "$tools"
prism="$tools/node_modules/.bin/prism"
[ -x "$prism" ] || npm install --silent --no-audit --no-fund --no-package-lock --prefix "$tools" @stoplight/prism-cli@5.14.2
if ! "$tools/venv/bin/python" -c 'import twilio' 2>/dev/null; then
    rm -rf "$tools/venv"
    # Where venv is not installed, a folder of packages does as well.
    if ! python3 -m venv "$tools/venv" 2>/dev/null; then
        python3 -m pip install --quiet --target "$tools/packages" twilio==9.13.0
    else
        "$tools/venv/bin/pip" install --quiet twilio==9.13.0
    fi
fi
if [ -x "$tools/venv/bin/python" ]; then
    TEXTBACK_PYTHON=$tools/venv/bin/python
else
    TEXTBACK_PYTHON=python3
    export PYTHONPATH="$PWD/$tools/packages"
fi
export TEXTBACK_PYTHON

# A field that may come several times has to be said to: Prism does not see it of fields whose shape
# stands elsewhere or may be null.
for document in twilio_api_v2010 twilio_messaging_v1; do
    python3 - "$spec/$document.prism.json" "$tools/$document.json" <<'PYTHON'
import json, sys

document = json.load(open(sys.argv[1]))
for path in document["paths"].values():
    for operation in path.values():
        content = operation.get("requestBody", {}).get("content", {}) if isinstance(operation, dict) else {}
        for form in content.values():
            for name, schema in list(form["schema"].get("properties", {}).items()):
                while "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].split("/")[-1]]
                if schema.get("type") == "array":
                    form["schema"]["properties"][name] = {key: value for key, value in schema.items() if key != "nullable"}
                    form.setdefault("encoding", {}).setdefault(name, {"style": "form", "explode": True})
json.dump(document, open(sys.argv[2], "w"))
PYTHON
done

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

started=""
stop() {
    for process in $started; do kill "$process" 2>/dev/null || true; done
}
trap stop EXIT INT TERM

# start NAME PORT ARGUMENTS…: a mock or a proxy, which is ready when its port answers.
start() {
    name=$1 port=$2
    shift 2
    "$prism" "$@" --errors -h 127.0.0.1 -p "$port" >"$tools/$name.log" 2>&1 &
    started="$started $!"
    tries=0
    until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || { echo "$name does not start:" >&2; tail -n 20 "$tools/$name.log" >&2; exit 1; }
        sleep 0.5
    done
}

cargo test --locked --no-run --test conformance
simulator=$(free_port)
port=$(free_port); start mock-api "$port" mock "$tools/twilio_api_v2010.json"
export TEXTBACK_MOCK_API="http://127.0.0.1:$port"
port=$(free_port); start mock-messaging "$port" mock "$tools/twilio_messaging_v1.json"
export TEXTBACK_MOCK_MESSAGING="http://127.0.0.1:$port"
port=$(free_port); start proxy-api "$port" proxy "$tools/twilio_api_v2010.json" "http://127.0.0.1:$simulator"
export TEXTBACK_PROXY_API="http://127.0.0.1:$port"
port=$(free_port); start proxy-messaging "$port" proxy "$tools/twilio_messaging_v1.json" "http://127.0.0.1:$simulator"
export TEXTBACK_PROXY_MESSAGING="http://127.0.0.1:$port"
export TEXTBACK_SIMULATOR_PORT="$simulator"
cargo test --locked --test conformance
