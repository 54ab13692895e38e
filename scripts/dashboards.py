"""Starts Superset with the dashboards of deploy/superset, on the database of the `textback dev` that runs here.

`make dashboards` runs it with the Python of scripts/ensure-superset.sh. It makes the role textback_dashboards in that database, lets it
see all projects, imports the dashboards as that role, prints the address, and ends with Ctrl-C. DASHBOARDS_DATABASE_URL, the
URL of a role that sees a project already, is used instead of the database of `textback dev`. PORT is the port of Superset (8088).
"""

import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

import psycopg2

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = pathlib.Path(sys.executable).parent
BUNDLE = ROOT / "deploy/superset/textback"
HOME = pathlib.Path(os.environ.get("DASHBOARDS_HOME", ROOT / "target/superset/home")).resolve()
ROLE = "textback_dashboards"
# How long Superset may take to start. It takes about 10 s on two cores.
STARTS_WITHIN = 120


def fail(text):
    sys.exit(f"dashboards: {text}")


def dev_database():
    """The URL of the database of the `textback dev` that runs with the data folder."""
    folder = pathlib.Path(os.environ.get("TEXTBACK_DATA_DIR", ROOT / "data"))
    try:
        url = json.loads((folder / "running.json").read_text())["database_url"]
        psycopg2.connect(url).close()
        return url
    except (OSError, ValueError, KeyError, TypeError, psycopg2.Error):
        fail(f"no textback dev with a database of its own runs with the data folder {folder}; start it with make dev, or set "
             "DASHBOARDS_DATABASE_URL to the URL of a role that textback reporting grant let see a project")


def as_role(url):
    """Makes the role, and returns the URL of the same database for it."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("select from pg_roles where rolname = %s", (ROLE,))
        if cursor.fetchone() is None:
            cursor.execute(f"create role {ROLE} login")
    connection.close()
    environment = {**os.environ, "DATABASE_URL": url}
    grant = [ROOT / "target/debug/textback", "reporting", "grant", ROLE, "--all-projects"]
    if subprocess.run(grant, env=environment, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        fail(f"textback reporting grant {ROLE} --all-projects failed")
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = dict(urllib.parse.parse_qsl(parts.query))
    if "host" in query:
        # psycopg2 takes the folder of a socket from the query, and no host before it.
        host = ""
    return urllib.parse.urlunsplit(("postgresql+psycopg2", f"{ROLE}@{host}", parts.path, urllib.parse.urlencode(query), ""))


def sqlalchemy_url(url):
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgres", "postgresql"):
        fail("DASHBOARDS_DATABASE_URL is no URL of PostgreSQL, such as postgres://dashboard:password@host/database")
    return f"postgresql+psycopg2://{rest}"


def bundle(url, path):
    """Writes the ZIP file that Superset imports, with the URL of the database."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(BUNDLE.rglob("*.yaml")):
            text = file.read_text()
            if file.parent.name == "databases":
                lines = [f"sqlalchemy_uri: {json.dumps(url)}" if line.startswith("sqlalchemy_uri:") else line for line in text.splitlines()]
                text = "\n".join(lines) + "\n"
            archive.writestr(str(pathlib.Path("textback") / file.relative_to(BUNDLE)), text)


def secret(name):
    """A secret that is drawn once and kept in the folder."""
    path = HOME / name
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text()


def superset(environment, *arguments):
    """Runs a command of Superset. What it prints is in a file, which is long."""
    log = HOME / "commands.log"
    with open(log, "a") as file:
        done = subprocess.run([BINARIES / "superset", *arguments], env=environment, stdout=file, stderr=file, check=False)
    if done.returncode != 0:
        fail(f"superset {arguments[0]} failed; {log} tells why")


def wait_until_ready(server, address):
    for _ in range(STARTS_WITHIN * 2):
        if server.poll() is not None:
            fail(f"Superset ended; {HOME / 'server.log'} tells why")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.5)
    fail(f"Superset did not start within {STARTS_WITHIN} s; {HOME / 'server.log'} tells why")


def main():
    given = os.environ.get("DASHBOARDS_DATABASE_URL")
    url = sqlalchemy_url(given) if given else as_role(dev_database())
    port = os.environ.get("PORT", "8088")
    HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {
        **os.environ,
        "SUPERSET_CONFIG_PATH": str(ROOT / "deploy/superset/superset_config.py"),
        "SUPERSET_HOME": str(HOME),
        "SUPERSET_SECRET_KEY": secret("secret_key"),
        # Superset's times have no zone, and the dashboards read them as UTC.
        "TZ": "UTC",
        "FLASK_APP": "superset",
    }
    environment.pop("DATABASE_URL", None)
    password = secret("password")
    prepared = HOME / "prepared"
    if not prepared.exists():
        print("preparing Superset (half a minute, once)", flush=True)
        superset(environment, "db", "upgrade")
        superset(environment, "fab", "create-admin", "--username", "admin", "--firstname", "-", "--lastname", "-",
                 "--email", "admin@localhost", "--password", password)
        superset(environment, "init")
        prepared.touch()
    print("importing the dashboards", flush=True)
    # The file has the password of the role, if it has one.
    archive = HOME / "textback.zip"
    bundle(url, archive)
    try:
        superset(environment, "import-dashboards", "--path", str(archive), "--username", "admin")
    finally:
        archive.unlink()
    address = f"http://127.0.0.1:{port}"
    with open(HOME / "server.log", "w") as log:
        server = subprocess.Popen(
            [BINARIES / "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", "1", "--threads", "8",
             "--timeout", "120", "superset.app:create_app()"],
            env=environment, stdout=log, stderr=log)
    # Ctrl-C reaches both processes; SIGTERM only this one.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: server.terminate())
    try:
        wait_until_ready(server, address)
        print(f"Superset: {address}/dashboard/list/  user admin, password {password}  (Ctrl-C ends it)", flush=True)
        server.wait()
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(timeout=30)


if __name__ == "__main__":
    main()
