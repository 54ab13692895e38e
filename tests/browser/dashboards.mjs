// Looks at the dashboards of deploy/superset in Chromium: `make dashboards-test`. It starts a
// textback with conversations of a week, and a Superset that imports the dashboards; opens each
// dashboard; fails if a chart shows an error or none is drawn; and leaves a picture of each in
// docs/pictures.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const require = createRequire(path.resolve("target/browser/package.json"));
const { chromium } = require("playwright-core");

const DASHBOARDS = ["operations", "conversations", "delivery-and-cost"];
const NUMBER = "+14155550199";
const PICTURE_BYTES = 300_000;
// The whole test ends within this time, whatever hangs.
const MINUTES = 10;
const pictures = path.resolve("docs/pictures");
const data = mkdtempSync(path.join(tmpdir(), "textback-dashboards-"));
const home = path.resolve("target/superset/test-home");
// The database's own user must be able to enter it.
chmodSync(data, 0o755);
mkdirSync(pictures, { recursive: true });
rmSync(home, { recursive: true, force: true });
const environment = { ...process.env, RUST_LOG: "error", TEXTBACK_DATA_DIR: data, DASHBOARDS_HOME: home };
delete environment.DATABASE_URL;
delete environment.DASHBOARDS_DATABASE_URL;

const processes = [];
const began = Date.now();
const log = (text) => console.log(`${((Date.now() - began) / 1000).toFixed(0)} s: ${text}`);

/** Starts a process, and returns what it printed when that holds a text. */
async function start(command, args, text, more = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...environment, ...more } });
  processes.push(child);
  let printed = "";
  await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`${command} ended with ${code}: ${printed}`)));
    child.stdout.on("data", (chunk) => {
      printed += chunk;
      if (printed.includes(text)) resolve();
    });
  });
  return printed;
}

async function stopAll() {
  for (const child of processes.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGINT");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 30_000))]);
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => resolve(port)); });
  });
}

function run(command, args, text) {
  const done = spawnSync(command, args, { encoding: "utf8", env: environment, input: text, timeout: 120_000 });
  assert.equal(done.status, 0, `${command} ${args.join(" ")}: ${done.stdout}${done.stderr}${done.error ?? ""}`);
  return done.stdout;
}

function query(statement) {
  const versions = existsSync("/usr/lib/postgresql") ? readdirSync("/usr/lib/postgresql") : [];
  const folders = [process.env.TEXTBACK_PG_BIN, ".pg/bin", ...versions.map((version) => `/usr/lib/postgresql/${version}/bin`)];
  const psql = folders.filter(Boolean).map((folder) => path.join(folder, "psql")).find(existsSync) ?? "psql";
  const { database_url: url } = JSON.parse(readFileSync(path.join(data, "running.json"), "utf8"));
  return run(psql, ["-v", "ON_ERROR_STOP=1", "-qtA", url], statement).trim();
}

async function open(page, address, name) {
  let answers = 0;
  const failed = [];
  const onResponse = async (response) => {
    if (!response.url().includes("/api/v1/chart/data")) return;
    answers += 1;
    if (!response.ok()) failed.push(`${response.status()} ${await response.text().catch(() => "")}`);
  };
  page.on("response", onResponse);
  await page.goto(`${address}/superset/dashboard/textback-${name}/?standalone=1`, { waitUntil: "domcontentloaded" });
  await page.locator("[data-test=chart-container], .dashboard-component-chart-holder").first().waitFor({ timeout: 90_000 });
  const charts = await page.locator(".dashboard-component-chart-holder").count();
  const deadline = Date.now() + 120_000;
  let loading = 1;
  while ((answers < charts || loading > 0) && failed.length === 0 && Date.now() < deadline) {
    await page.waitForTimeout(500);
    loading = await page.locator(".dashboard-component-chart-holder [data-test=loading-indicator], .dashboard-component-chart-holder .loading").count();
  }
  assert.deepEqual(failed, [], `${name}: the answers of charts`);
  assert.ok(answers >= charts && charts > 5, `${name}: ${answers} answers for ${charts} charts`);
  assert.equal(loading, 0, `${name}: a chart still loads`);
  // The charts are drawn after their data came, with an animation of a second.
  await page.waitForTimeout(2_500);
  const errors = await page.locator(".dashboard-component-chart-holder .ant-alert-error, .dashboard-component-chart-holder [role=alert]").allInnerTexts();
  assert.deepEqual(errors, [], `${name}: charts with an error`);
  const drawn = await page.locator(".dashboard-component-chart-holder :is(canvas, table, .superset-legacy-chart-big-number, .big_number_total)").count();
  assert.ok(drawn >= charts / 2, `${name}: ${drawn} of ${charts} charts have something drawn`);
  const text = await page.locator("body").innerText();
  assert.ok(!/\+1415555(?!0199)\d{4}/.test(text), `${name}: a whole contact is shown`);
  const file = path.join(pictures, `superset-${name}.png`);
  const boxes = await page.locator(".dashboard-component-chart-holder").evaluateAll((holders) => holders.map((holder) => holder.getBoundingClientRect().bottom));
  await page.screenshot({ path: file, animations: "disabled", clip: { x: 0, y: 0, width: 1280, height: Math.ceil(Math.max(...boxes)) + 16 } });
  assert.ok(statSync(file).size < PICTURE_BYTES, `${file} has ${statSync(file).size} bytes`);
  page.off("response", onResponse);
  const empty = await page.locator(".dashboard-component-chart-holder", { hasText: "No results" }).count();
  log(`${name}: ${charts} charts, ${empty} of them without a row; ${path.relative(".", file)}`);
}

const bounded = setTimeout(() => { console.error(`it took over ${MINUTES} minutes`); stopAll().then(() => process.exit(1)); }, MINUTES * 60_000);
let browser;
try {
  await start("target/debug/textback", ["dev", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0", "--data-dir", data], "Ctrl-C");
  log("textback dev runs");
  const { carrier } = JSON.parse(readFileSync(path.join(data, "running.json"), "utf8"));
  environment.TEXTBACK_SIMULATOR_URL = carrier;
  for (let phone = 1; phone <= 6; phone += 1) {
    for (const text of ["hi", "Ada", "what can you do?"].slice(0, 1 + (phone % 3))) {
      run("target/debug/textback", ["simulate", "send", "--from", `+141555501${10 + phone}`, "--to", NUMBER, text]);
    }
  }
  query(readFileSync("tests/browser/history.sql", "utf8"));
  const wait = Date.now() + 120_000;
  while (query("select bool_and(backlog_hours = 0 and counted_at is not null and settled_until is not null) from reporting.rollups_v1") !== "t") {
    assert.ok(Date.now() < wait, `the hours were not counted: ${query("select string_agg(rollups_v1::text, chr(10)) from reporting.rollups_v1")}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  log(`the hours are counted: ${query("select sum(messages) from reporting.messages_by_hour_v1")} messages`);

  const port = await freePort();
  const venv = path.resolve("target/superset/venv/bin/python3");
  const banner = await start(venv, ["scripts/dashboards.py"], "Ctrl-C", { PORT: String(port) });
  const address = `http://127.0.0.1:${port}`;
  const password = banner.match(/password (\S+)/)[1];
  log("Superset runs");

  const flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  if (process.getuid() === 0) flags.push("--no-sandbox");
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
  // Superset asks for the data of a chart when it comes into view, so all are in view.
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 4000 }, timezoneId: "UTC" })).newPage();
  // Before its script has run, the form sends nothing that Superset accepts.
  await page.goto(`${address}/login/`, { waitUntil: "networkidle" });
  await page.locator("#username, [name=username]").first().fill("admin");
  await page.locator("#password, [name=password]").first().fill(password);
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => !url.pathname.startsWith("/login"), { timeout: 60_000 });
  for (const name of DASHBOARDS) await open(page, address, name);
  log("all dashboards are drawn without an error");
} finally {
  await browser?.close();
  await stopAll();
  clearTimeout(bounded);
  rmSync(data, { recursive: true, force: true });
}
