// Keeps a page's live parts fresh: the server tells of a new head, the parts are fetched and laid over those here, so
// that focus, typed text, scrolling and open details stay where they are. Also counts times down.

const LOCAL = new Set(["hidden", "open", "value", "checked", "disabled", "aria-busy", "aria-expanded"]);

/** Makes `old` read as `fresh` does, touching only what differs; what scripts fill in is theirs. */
export function morph(old, fresh) {
  if ("local" in old.dataset) return;
  for (const { name } of [...old.attributes]) {
    if (!LOCAL.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (!LOCAL.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const [here, there] = [[...old.childNodes], [...fresh.childNodes]];
  there.forEach((node, at) => {
    const now = here[at];
    if (!now) old.append(node.cloneNode(true));
    else if (same(now, node)) now.nodeType === 1 ? morph(now, node) : now.data !== node.data && (now.data = node.data);
    else now.replaceWith(node.cloneNode(true));
  });
  here.slice(there.length).forEach((node) => node.remove());
}

function same(a, b) {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) return false;
  return a.nodeType !== 1 || (a.id === b.id && a.dataset?.action === b.dataset?.action);
}

/** Least time between two refreshes: some chains have several blocks a second. */
const PAUSE = 1500;
let wanted = false;
let busy = false;

/** Refreshes now, or once more after the one under way. */
async function keepUp() {
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    await refresh().catch(() => {});
    count();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  busy = false;
}

async function refresh() {
  const address = new URL(location.href);
  address.searchParams.set("parts", "");
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (old) morph(old, part);
  }
  document.dispatchEvent(new Event("parts"));
}

let chainNow = Number(document.body.dataset.now);
let heardAt = performance.now();
let version = Number(document.body.dataset.version);
let stream;

function listen() {
  stream = new EventSource("/events");
  stream.addEventListener("head", (event) => {
    const head = JSON.parse(event.data);
    [chainNow, heardAt] = [head.time, performance.now()];
    document.dispatchEvent(new CustomEvent("head", { detail: head }));
    if (head.version === version) return;
    version = head.version;
    keepUp();
  });
}

// A hidden page gives its connection back: browsers have few for one address.
document.addEventListener("visibilitychange", () => {
  stream?.close();
  if (!document.hidden) listen();
});

function count() {
  const runs = document.body.dataset.clock === "runs";
  const now = chainNow + (runs ? Math.floor((performance.now() - heardAt) / 1000) : 0);
  for (const left of document.querySelectorAll("[data-until]")) {
    const text = `(${words(Number(left.dataset.until) - now)})`;
    if (left.textContent !== text) left.textContent = text;
  }
}

function words(secs) {
  if (secs <= 0) return "now past";
  const parts = [[Math.floor(secs / 86400), "day"], [Math.floor((secs % 86400) / 3600), "hour"], [Math.floor((secs % 3600) / 60), "minute"]];
  const shown = (secs >= 172800 ? parts.slice(0, 2) : parts).filter(([n]) => n > 0);
  if (secs < 3600) shown.push([secs % 60, "second"]);
  return `in ${shown.map(([n, unit]) => `${n} ${unit}${n === 1 ? "" : "s"}`).join(" ")}`;
}

listen();
setInterval(count, 1000);
