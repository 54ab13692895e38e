// Looks at the console of `textback dev` in Chromium: `make browser`. It starts its own process on
// a data folder of its own, fails with the first thing that does not hold, and leaves a picture of
// each width, theme and situation in target/browser/pictures, and the picture of the README in
// docs/pictures.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";

const require = createRequire(path.resolve("target/browser/package.json"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");

const WIDTHS = [320, 390, 768, 1280];
const THEMES = ["light", "dark"];
const ADA = "+14155550101";
const NUMBER = "+14155550199";
const pictures = path.resolve("target/browser/pictures");
const data = mkdtempSync(path.join(tmpdir(), "textback-browser-"));
// The database's own user must be able to enter it.
chmodSync(data, 0o755);
mkdirSync(pictures, { recursive: true });

/** Starts `textback dev` and returns the process, the console's address and its port. */
async function start(port) {
  const listen = ["--listen", `127.0.0.1:${port}`, "--simulator-listen", "127.0.0.1:0", "--data-dir", data];
  const dev = spawn("target/debug/textback", ["dev", ...listen], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RUST_LOG: "error" } });
  let banner = "";
  await new Promise((resolve, reject) => {
    dev.once("exit", (code) => reject(new Error(`textback dev ended with ${code}`)));
    dev.stdout.on("data", (chunk) => {
      banner += chunk;
      if (banner.includes("Ctrl-C")) resolve();
    });
  });
  const address = banner.match(/Console\s+(\S+)/)[1];
  return { dev, address, port: new URL(address).port };
}

async function stop({ dev }) {
  // One that has ended already tells that to nobody again.
  if (dev.exitCode !== null || dev.signalCode !== null) return;
  const ended = new Promise((resolve) => dev.once("exit", resolve));
  dev.kill("SIGINT");
  await ended;
}

/** Changes rows of the process's database, for what takes long to happen by itself. */
function change(statement) {
  const versions = existsSync("/usr/lib/postgresql") ? readdirSync("/usr/lib/postgresql") : [];
  const folders = [process.env.TEXTBACK_PG_BIN, ".pg/bin", ...versions.map((version) => `/usr/lib/postgresql/${version}/bin`)];
  const psql = folders.filter(Boolean).map((folder) => path.join(folder, "psql")).find(existsSync) ?? "psql";
  const database = `postgres://textback@localhost/textback?host=${path.join(data, "postgres/socket")}`;
  const done = spawnSync(psql, ["-v", "ON_ERROR_STOP=1", "-qc", statement, database], { encoding: "utf8" });
  assert.equal(done.status, 0, done.stderr ?? String(done.error));
}

async function send(page, text) {
  await page.fill("#body", text);
  await page.press("#body", "Enter");
}

/** Axe's violations, the width of the page and a picture, for each width and theme. */
async function look(page, name) {
  for (const colorScheme of THEMES) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      await page.waitForTimeout(50);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${name} at ${width} px is ${overflow} px too wide`);
      const below = await page.evaluate(() => { const log = document.getElementById("texts"); return log.scrollHeight - log.scrollTop - log.clientHeight; });
      assert.ok(below < 2, `${name} at ${width} px: the latest text is ${below} px out of sight`);
      if (!(await page.evaluate(() => "axe" in window))) await page.addScriptTag({ path: axe });
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join("\n")}`);
      assert.deepEqual(found, [], `${name} at ${width} px, ${colorScheme}`);
      await page.screenshot({ path: path.join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

/** The picture of the README: a conversation that goes well. */
async function picture(page) {
  const file = path.resolve("docs/pictures/dev.png");
  mkdirSync(path.dirname(file), { recursive: true });
  await send(page, "What are your opening hours?");
  await shows(page, "#texts li:nth-child(6)", "Delivered");
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await page.setViewportSize({ width: 1120, height: 700 });
  await page.screenshot({ path: file });
  await page.setViewportSize({ width: 1280, height: 900 });
  assert.ok(statSync(file).size < 300_000, "docs/pictures/dev.png is too large");
}

const shows = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor({ timeout: 15_000 });
const focused = (page) => page.evaluate(() => document.activeElement.textContent || document.activeElement.id);

let server = await start(0);
const flags = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
if (process.getuid() === 0) flags.push("--no-sandbox");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
try {
  const context = await browser.newContext({ bypassCSP: true });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error" && !/ERR_|404/.test(message.text())) errors.push(message.text()); });

  await page.goto(server.address.replace("/console", "/"));
  assert.equal(new URL(page.url()).pathname, "/console");
  await look(page, "empty");

  // An answer shows at once, what is there stays in the document, and a screen reader is told of
  // what is new.
  const began = Date.now();
  await send(page, "hi");
  await shows(page, "#texts", "Hi, you've reached textback");
  const answerMs = Date.now() - began;
  assert.ok(answerMs < 1_000, `an answer showed after ${answerMs} ms`);
  await page.evaluate(() => { window.firstText = document.querySelector("#texts li"); });
  assert.equal(await focused(page), "body");
  await send(page, "Ada");
  await shows(page, "#texts", "Nice to meet you, Ada");
  await shows(page, "#texts li:nth-child(4)", "Delivered");
  assert.ok(await page.evaluate(() => window.firstText === document.querySelector("#texts li")), "a text was replaced");
  await picture(page);
  for (const text of ["<img src=x onerror=alert(1)>", "שלום, מה שלומך?", "Donaudampfschifffahrtsgesellschaft".repeat(8)]) {
    await send(page, text);
    await shows(page, "#texts", text.slice(0, 20));
  }

  // Another phone texts meanwhile. The page stays with its own session, and opens the other by its
  // link.
  await page.fill("#view [name=phone]", "+14155550102");
  await page.press("#view [name=phone]", "Tab");
  await shows(page, "#session", "has no session");
  await send(page, "I am Bob");
  await shows(page, "#session", "I am Bob");
  await page.fill("#view [name=phone]", ADA);
  await page.press("#view [name=phone]", "Tab");
  await shows(page, "#session", "Ada, you said");
  const other = page.locator("#sessions a", { hasText: "+14155550102" });
  await other.focus();
  await page.keyboard.press("Enter");
  await shows(page, "#session", "I am Bob");
  assert.match(await focused(page), /\+14155550102/, "the focus stays on the link");
  await look(page, "other-session");
  await page.reload();
  await shows(page, "#session", "I am Bob");
  await page.goBack();
  await shows(page, "#session", "Ada, you said");
  // The address without a query, from which this began, stands for the first phone again.
  for (let back = 0; back < 3 && new URL(page.url()).search !== ""; back += 1) await page.goBack();
  assert.equal(new URL(page.url()).search, "");
  await page.locator(`#compose [name=phone][value="${ADA}"]`).waitFor({ state: "attached", timeout: 15_000 });
  assert.equal(await page.inputValue("#view [name=phone]"), ADA);
  await shows(page, "#session", "Ada, you said");

  // What was not answered or failed says why.
  change("update textback.message set skip_reason = 'repeats' where id = (select id from textback.message where direction = 'inbound' and body = 'Ada')");
  change("update textback.session set paused_until = now() + interval '10 minutes'");
  change("update textback.delivery set status = 'failed', error_code = 30006, error_class = 'permanent_recipient', error_detail = 'Landline or unreachable carrier' where id = (select id from textback.message where kind = 'greeting' order by id limit 1)");
  await shows(page, "#texts", "Not answered: the same message came too often");
  await shows(page, "#texts", "code 30006, Landline");

  // A button keeps the focus, while the page under it changes.
  const advance = page.getByRole("button", { name: "Advance 24 hours" });
  await advance.focus();
  await page.keyboard.press("Enter");
  await shows(page, "#session", "Warned. End at");
  await shows(page, "#done", "24 hours ahead");
  assert.equal(await focused(page), "Advance 24 hours");
  await shows(page, "#texts", "Are you still there?");
  await look(page, "conversation");
  await page.waitForTimeout(1_000);
  await page.getByRole("button", { name: "Advance 10 minutes" }).focus();
  await page.keyboard.press("Enter");
  await shows(page, "#session", "Closed: it timed out");
  assert.notEqual(await page.evaluate(() => document.activeElement.tagName), "BODY", "the focus is lost with its button");

  // The server goes: the page says so, keeps what is typed, and recovers alone with all that
  // happened meanwhile.
  await stop(server);
  await page.locator("#connection:not([hidden])", { hasText: "No connection to the server" }).waitFor({ timeout: 15_000 });
  await send(page, "typed while away");
  await shows(page, "#trouble", "no connection to the server");
  assert.equal(await page.inputValue("#body"), "typed while away");
  // Neither of two texts that are under way together is lost.
  await page.evaluate(() => {
    const body = document.getElementById("body");
    for (const text of ["one", "two"]) {
      body.value = text;
      body.form.requestSubmit();
    }
  });
  await page.waitForFunction(() => document.getElementById("body").value === "one\ntwo", undefined, { timeout: 5_000 });
  await page.fill("#body", "typed while away");
  await look(page, "no-connection");
  server = await start(server.port);
  await page.locator("#connection").waitFor({ state: "hidden", timeout: 15_000 });
  await page.press("#body", "Enter");
  await shows(page, "#texts", "typed while away");
  await shows(page, "#session", "typed while away");

  // A server that hangs is noticed, too.
  server.dev.kill("SIGSTOP");
  await page.locator("#connection:not([hidden])").waitFor({ timeout: 20_000 });
  server.dev.kill("SIGCONT");
  await page.locator("#connection").waitFor({ state: "hidden", timeout: 15_000 });

  // Without its script the page works, too, and its policy does not stop the script that it has.
  const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  await plain.goto(server.address);
  await plain.fill("#body", "without a script");
  await plain.click("#compose button");
  await shows(plain, "#texts", "without a script");
  const strict = await (await browser.newContext()).newPage();
  strict.on("console", (message) => errors.push(message.text()));
  await strict.goto(server.address);
  await send(strict, "with the policy");
  await shows(strict, "#texts", "with the policy");
  assert.deepEqual(errors, []);
  console.log(`an answer showed after ${answerMs} ms; axe found nothing; the pictures are in ${pictures}`);
} finally {
  await browser.close();
  await stop(server);
  rmSync(data, { recursive: true, force: true });
}
