// The bid form's own parts: the purchase permit, from the attester or a file, and what the bid can come to while it is
// typed.

import { askToConnect, inWords, say, wallet } from "/asset/wallet.js";

const at = (id) => document.getElementById(id);
/** The permit: its text goes to the server as it came, for numbers here are too short for some of its own. */
let permit = null;
let text = "";
let tools;

const round = () => Number(at("permit").dataset.round);
const key = () => `earnest permit ${document.body.dataset.offering} ${round()} ${wallet.account}`.toLowerCase();

/** What goes along with a bid beside its form. */
export const bidBody = () => (permit ? { permit: text } : {});

function set(value) {
  try { [permit, text] = [JSON.parse(value), value]; } catch { [permit, text] = [null, ""]; }
}

function stored() {
  try { return localStorage.getItem(key()); } catch { return null; }
}

function keep(value) {
  set(value);
  try { value ? localStorage.setItem(key(), value) : localStorage.removeItem(key()); } catch { /* then it is for this page only */ }
  show();
}

function show() {
  const state = at("permit-state");
  if (!state) return;
  const day = (secs) => new Date(secs * 1000).toISOString().slice(0, 10);
  state.textContent = permit
    ? `Permit for ${permit.wallet}, good until ${day(permit.expiry)}${permit.cooling_off ? ", with cooling-off" : ""}.`
    : "No permit yet.";
  at("permit-forget").hidden = !permit;
}

function trouble(text) {
  const line = at("permit-problem");
  line.textContent = text;
  line.hidden = !text;
}

function take(given) {
  try {
    const read = JSON.parse(given);
    if (read?.round !== round()) throw new Error("it is for another round");
    if (typeof read.wallet !== "string" || typeof read.signature !== "string") throw new Error("it has no wallet or no signature");
    trouble("");
    keep(given);
    say("Permit loaded.");
  } catch (error) {
    trouble(`This is not a permit for this round: ${error.message}. Load the file as the attester gave it.`);
  }
}

async function ask() {
  if (!wallet.account) return askToConnect();
  trouble("");
  try {
    const { message } = await tools.post("/attester/challenge", { wallet: wallet.account });
    at("permit-state").textContent = "Waiting for your wallet to sign in at the attester.";
    const hex = `0x${[...new TextEncoder().encode(message)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    const signature = await wallet.provider.request({ method: "personal_sign", params: [hex, wallet.account] });
    take(await tools.text("/attester/permit", { wallet: wallet.account, round: round(), message, signature }));
  } catch (error) {
    show();
    trouble(error.told ? error.message : inWords(error));
  }
}

let typing;
function preview(form) {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    const ask = Object.fromEntries(["round", "cash", "limit", "schedule"].map((name) => [name, new FormData(form).get(name)]).filter(([, value]) => value !== null));
    if (!ask.cash || ask.limit === "") return at("preview")?.replaceChildren();
    try {
      const { words } = await tools.post("/preview/bid", ask);
      const list = document.createElement("ul");
      for (const text of words) list.append(Object.assign(document.createElement("li"), { textContent: text }));
      at("preview")?.replaceChildren(list);
    } catch (error) {
      at("preview")?.replaceChildren(Object.assign(document.createElement("p"), { className: "problem", textContent: tools.words(error) }));
    }
  }, 250);
}

export function startBid(given) {
  tools = given;
  document.addEventListener("wallet", () => {
    if (!at("permit")) return;
    set(wallet.account ? stored() : null);
    show();
  });
  document.addEventListener("input", ({ target }) => {
    const form = target.closest?.('form[data-action="bid"]');
    if (form) preview(form);
  });
  document.addEventListener("click", ({ target }) => {
    if (target.id === "permit-ask") ask();
    if (target.id === "permit-forget") keep(null);
    if (target.id === "permit-take") take(at("permit-text").value);
  });
  document.addEventListener("change", async ({ target }) => {
    if (target.id === "permit-file" && target.files[0]) take(await target.files[0].text());
  });
}
