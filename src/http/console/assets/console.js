// Keeps the page of the console up to date. Without this script the page works too: it is then as
// old as its last load. The server sends the parts of the page as HTML in which every text is
// escaped.

/** How long the server may be silent: it sends an event every 4 s at least. */
const SILENCE_MS = 12_000;
/** How long the page says nothing of a lost connection: the server ends each stream after 45 s. */
const BANNER_AFTER_MS = 1_500;
/** The time before each further try. */
const RETRY_MS = [50, 500, 1_000, 2_000];
/** A text waits this long for its webhook at most. */
const SEND_TIMEOUT_MS = 35_000;
/** By how many pixels the end of the texts may be out of sight for new texts to be scrolled to. */
const AT_END_PIXELS = 80;

const NO_CONNECTION = "No connection to the server. Trying again …";

const byId = (id) => document.getElementById(id);
const [banner, texts, trouble, done, viewForm, compose] =
  ["connection", "texts", "trouble", "done", "view", "compose"].map(byId);

// ---- The parts of the page

/** Writes the times below an element in the reader's zone and language. */
function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const isToday = at.toDateString() === new Date().toDateString();
    time.title = time.dateTime;
    time.textContent = isToday
      ? at.toLocaleTimeString()
      : at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  }
}

/** Gives an element the attributes and children of another, and keeps every child that stays. So the focus, the selection and
 * open details stay, and a screen reader is told only of what is new. */
function update(current, wanted) {
  for (const { name } of [...current.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") current.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (current.getAttribute(name) !== value) current.setAttribute(name, value);
  }
  updateChildren(current, wanted);
}

function updateChildren(current, wanted) {
  const keyOf = (node) => node.dataset?.key;
  const wantedKeys = new Set([...wanted.children].map(keyOf).filter(Boolean));
  const kept = new Map();
  for (const child of [...current.children]) {
    const key = keyOf(child);
    if (key === undefined) continue;
    if (wantedKeys.has(key)) kept.set(key, child);
    else child.remove();
  }
  let at = current.firstChild;
  for (const child of [...wanted.childNodes]) {
    const key = keyOf(child);
    const isAlike = at && keyOf(at) === undefined && key === undefined && at.nodeName === child.nodeName;
    const match = key === undefined ? (isAlike ? at : undefined) : kept.get(key);
    if (!match) {
      current.insertBefore(child, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else current.insertBefore(match, at);
    if (match.nodeType === Node.ELEMENT_NODE) update(match, child);
    else if (match.data !== child.data) match.data = child.data;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Shows new parts of the page: their elements' ids and their HTML. */
function show(parts) {
  for (const [id, html] of Object.entries(parts)) {
    const part = byId(id);
    const wanted = document.createElement("template");
    wanted.innerHTML = html;
    localize(wanted.content);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    updateChildren(part, wanted.content);
    if (part === texts && staysAtEnd) scrollToEnd();
    if (!focused || document.activeElement === focused) continue;
    // What had the focus has moved, or is gone, such as a button of a session that has closed.
    (focused.isConnected ? focused : part.closest("[aria-labelledby]").querySelector("h2")).focus();
  }
}

/** Whether the latest text is in sight. Then it stays there, whatever comes. */
let staysAtEnd = true;
let shownSize = "";

const sizeOfTexts = () => [texts.clientWidth, texts.clientHeight, texts.scrollHeight].join();

function scrollToEnd() {
  texts.scrollTop = texts.scrollHeight;
  shownSize = sizeOfTexts();
}

texts.addEventListener("scroll", () => {
  // The browser scrolls, too, when the size changes. Only a person decides where to stay.
  if (staysAtEnd && sizeOfTexts() !== shownSize) scrollToEnd();
  else staysAtEnd = texts.scrollHeight - texts.scrollTop - texts.clientHeight < AT_END_PIXELS;
});
new ResizeObserver(() => { if (staysAtEnd) scrollToEnd(); }).observe(texts);

// ---- The connection

let source;
let failures = 0;
let retryTimer, silenceTimer, bannerTimer;

function say(message) {
  if (banner.textContent !== message) banner.textContent = message;
  banner.hidden = message === "";
}

function connect() {
  disconnect();
  if (document.hidden) return;
  source = new EventSource(`/console/changes${location.search}`);
  const on = (name, act) => source.addEventListener(name, (event) => { arrived(); act(JSON.parse(event.data)); });
  on("parts", (parts) => { say(""); show(parts); });
  on("trouble", ({ detail }) => say(detail));
  on("alive", () => { if (banner.textContent === NO_CONNECTION) say(""); });
  source.onerror = lost;
  silenceTimer = setTimeout(lost, SILENCE_MS);
}

function disconnect() {
  clearTimeout(retryTimer);
  clearTimeout(silenceTimer);
  source?.close();
  source = undefined;
}

/** The server is there. */
function arrived() {
  failures = 0;
  clearTimeout(bannerTimer);
  bannerTimer = undefined;
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(lost, SILENCE_MS);
}

/** The stream ended, or the server is silent. A new stream begins with the whole page. */
function lost() {
  disconnect();
  bannerTimer ??= setTimeout(() => say(NO_CONNECTION), failures === 0 ? BANNER_AFTER_MS : 0);
  retryTimer = setTimeout(connect, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
  failures += 1;
}

// A browser opens six connections to a server, so a page that nobody sees holds none.
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
addEventListener("pagehide", disconnect);
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

// ---- The view: the phone, its number and the open session stand in the address

function open(address) {
  history.pushState(null, "", address);
  showView();
}

/** Shows what the address says. */
function showView() {
  const query = new URLSearchParams(location.search);
  for (const name of ["phone", "number"]) {
    const value = query.get(name);
    const field = viewForm.elements[name];
    // The number of an old session may be one that the carrier does not have any more.
    if (field.options && ![...field.options].some((option) => option.value === value)) field.add(new Option(value));
    field.value = value;
    compose.elements[name].value = value;
  }
  tellTrouble("");
  done.textContent = "";
  connect();
}

addEventListener("popstate", () => {
  const query = new URLSearchParams(location.search);
  // An address that names no phone or no number stands for those that the server chooses.
  if (query.get("phone") && query.get("number")) showView();
  else location.reload();
});

viewForm.addEventListener("change", () => {
  if (viewForm.reportValidity()) open(`/console?${new URLSearchParams(new FormData(viewForm))}`);
});
viewForm.addEventListener("submit", (event) => {
  event.preventDefault();
  viewForm.dispatchEvent(new Event("change"));
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain) return;
  event.preventDefault();
  open(link.getAttribute("href"));
});

// ---- The forms

/** Posts a form's fields. Returns why it was not done, or "". */
async function post(form, fields) {
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { "X-Textback-Console": "1" },
      body: fields,
      signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
    });
    if (answer.ok) return "";
    const problem = await answer.json().catch(() => ({}));
    return problem.detail ?? `The server answered ${answer.status}.`;
  } catch {
    return "Not sent: no connection to the server.";
  }
}

function tellTrouble(message) {
  trouble.textContent = message;
  trouble.hidden = message === "";
}

/** Texts go one after the other, in the order in which they were typed. */
let sending = Promise.resolve();

function send() {
  const field = compose.elements.body;
  const typed = field.value;
  if (typed.trim() === "") return;
  const fields = new URLSearchParams(new FormData(compose));
  field.value = "";
  field.focus();
  staysAtEnd = true;
  scrollToEnd();
  tellTrouble("");
  sending = sending.then(async () => {
    const problem = await post(compose, fields);
    if (problem === "") return;
    tellTrouble(problem);
    // What was typed is not lost, also when several texts fail or another one was begun.
    field.value = [field.value, typed].filter(Boolean).join("\n");
  });
}

compose.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
compose.elements.body.addEventListener("keydown", (event) => {
  // While a word is composed (Japanese, Chinese), Enter accepts it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});

byId("session").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const problem = await post(form, new URLSearchParams(new FormData(form)));
  // The same words again are announced only if they change.
  done.textContent = "";
  setTimeout(() => { done.textContent = problem || form.dataset.done; }, 50);
});

document.documentElement.classList.add("with-script");
localize(document);
scrollToEnd();
connect();
