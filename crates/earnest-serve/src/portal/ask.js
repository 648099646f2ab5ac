// How pages ask the gateway, and how they write what it says: as text, never as markup.

export const gateway = document.body.dataset.gateway;

/** An element with attributes and children; text becomes text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Asks the gateway; what it refuses is thrown in its own words. */
export async function ask(path, { key, body } = {}) {
  let answer;
  try {
    answer = await fetch(gateway + path, {
      method: body ? "POST" : "GET",
      headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(body ? { "content-type": "application/json" } : {}) },
      body, cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    });
  } catch {
    throw Object.assign(new Error("The gateway cannot be reached from this browser. Nothing was changed; try again in a moment."), { told: true });
  }
  const text = await answer.text();
  let read = null;
  try { read = JSON.parse(text); } catch { /* then it is no answer */ }
  if (answer.ok && read) return read;
  const why = read?.error?.message;
  const words = why ? `The gateway says: ${why}.` : `The gateway answered ${answer.status} and not why.`;
  throw Object.assign(new Error(words), { told: true, status: answer.status, code: read?.error?.code });
}

/** A table as the server makes them: the first cell of a row is its head; titles of figures end in #. */
export function table(caption, titles, rows) {
  const heads = titles.map((title) => (title.endsWith("#")
    ? make("th", { scope: "col", class: "number" }, title.slice(0, -1))
    : make("th", { scope: "col" }, title)));
  const lines = rows.map((row) => make("tr", {}, ...row.map((cell, at) => (at === 0
    ? make("th", { scope: "row" }, cell)
    : make("td", titles[at].endsWith("#") ? { class: "number" } : {}, ...[cell].flat())))));
  return make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    make("table", {}, make("caption", {}, caption), make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines)));
}

/** `2 cash` as this offering calls its coins: `2 USDC`. */
export const named = (text) => String(text).replace(/ (cash|credits)$/, (_, coin) => ` ${document.body.dataset[coin]}`);

export const problem = (text) => make("p", { class: "problem", role: "alert" }, text);
export const words = (error) => (error?.told ? error.message : `Something went wrong here: ${error?.message ?? error}.`);
