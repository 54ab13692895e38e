// Looks at the book of docs/ in Chromium (make browser): each diagram is drawn, the search finds a
// page, and no page asks the network.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.resolve("target/browser/package.json"));
const { chromium } = require("playwright-core");
const book = path.resolve("target/book");
const pictures = path.resolve("target/browser/pictures");
mkdirSync(pictures, { recursive: true });

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2" };
const server = createServer((request, response) => {
  const file = path.join(book, decodeURIComponent(new URL(request.url, "http://localhost").pathname));
  try {
    const body = readFileSync(file.endsWith("/") ? `${file}index.html` : file);
    response.writeHead(200, { "content-type": types[path.extname(file)] ?? "text/plain; charset=utf-8" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${server.address().port}`;

const flags = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
if (process.getuid() === 0) flags.push("--no-sandbox");
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  const elsewhere = [];
  const errors = [];
  page.on("request", (request) => { if (!/^(http:\/\/127\.0\.0\.1:|data:|blob:)/.test(request.url())) elsewhere.push(request.url()); });
  page.on("pageerror", (error) => errors.push(String(error)));

  const pages = readdirSync(book, { recursive: true }).filter((name) => name.endsWith(".html"));
  let diagrams = 0;
  for (const name of pages) {
    const blocks = (readFileSync(path.join(book, name), "utf8").match(/<code class="language-mermaid">/g) ?? []).length;
    if (blocks === 0 || name === "print.html") continue;
    await page.goto(`${address}/${name}`);
    await page.waitForFunction((count) => document.querySelectorAll("pre.mermaid svg").length === count, blocks, { timeout: 30_000 });
    const broken = await page.locator("pre.mermaid", { hasText: "Syntax error" }).count();
    assert.equal(broken, 0, `${name} has a diagram that can't be drawn`);
    await page.screenshot({ path: path.join(pictures, `book-${name.replaceAll("/", "-")}.png`), fullPage: true });
    diagrams += blocks;
  }
  assert.ok(diagrams >= 6, `${diagrams} diagrams`);

  await page.goto(`${address}/index.html`);
  await page.keyboard.press("s");
  await page.locator("#mdbook-searchbar").pressSequentially("quarantine replay");
  const first = page.locator("#mdbook-searchresults a").first();
  await first.waitFor({ timeout: 15_000 });
  await page.screenshot({ path: path.join(pictures, "book-search.png") });
  assert.deepEqual(elsewhere, [], "the book asks the network");
  assert.deepEqual(errors, []);
  console.log(`the book draws ${diagrams} diagrams, and its search finds ${await first.textContent()}`);
} finally {
  await browser.close();
  server.close();
}
