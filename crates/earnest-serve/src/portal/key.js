// Making and managing keys with a wallet: the secret is made here and stays here, its SHA-256 is all that leaves; orders
// that the wallet has signed go to the gateway; what it answers is shown beside the channel.

import { ask, make, named, table } from "/asset/ask.js";
import { say } from "/asset/wallet.js";

const at = (id) => document.getElementById(id);
let secret = null;
/** What is to be read once the dialog is closed. */
let news = null;

/** What goes along with a question about keys beside its form. */
export async function keyBody(action) {
  const body = {};
  if (action === "key-create") {
    const { chain_id, settlement, collector, revenue, withdraw_delay } = await ask("/earnest/terms");
    body.terms = JSON.stringify({ chain_id, settlement, collector, revenue, withdraw_delay });
  }
  if (action === "key-create" || action === "key-another") {
    const bytes = crypto.getRandomValues(new Uint8Array(32));
    secret = `sk-earnest-${btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret)));
    body.hash = `0x${[...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }
  return body;
}

/** 65 bytes with the recovery bit from 27, as contracts take it. */
export function plainSignature(signature) {
  if (!/^0x[0-9a-f]{130}$/i.test(signature)) return signature;
  const last = Number.parseInt(signature.slice(-2), 16);
  return last < 27 ? signature.slice(0, -2) + (last + 27).toString(16) : signature;
}

/** Gives a signed order to the gateway. Channel and order are JSON already: their bytes were signed. */
export async function give({ channel, order, time }, signature) {
  try {
    return await ask("/earnest/orders", { body: `{"channel":${channel},"order":${order},"time":${time},"signature":"${plainSignature(signature)}"}` });
  } catch (error) {
    if (error.code !== "unknown_channel") throw error;
    throw Object.assign(new Error("The gateway does not know this channel yet. Make a key for it, with a ceiling: that opens it there."), { told: true });
  }
}

/** The order was followed: shows how the channel stands, and the new key where one was made. */
export function followed(form, action, state) {
  const place = form.closest("section.position")?.querySelector(".gateway-state");
  if (place) {
    place.replaceChildren(...stands(form.closest("section.position"), state));
    news = place;
  }
  const made = secret;
  secret = null;
  if (made && (action === "key-create" || action === "key-another")) show(made, state);
}

function stands(section, state) {
  const facts = make("dl", { class: "facts" }, ...["deposited", "signed", "charged", "reserved", "claimed", "left"].map((name) => make("div", {},
    make("dt", {}, { deposited: "Deposited", signed: "Signed for", charged: "Charged", reserved: "Reserved by requests now", claimed: "Claimed", left: "Left to use" }[name]),
    make("dd", {}, named(state[name])))));
  const rows = (state.keys ?? []).map((key) => {
    const revoke = make("button", { type: "button", class: "quiet-button" }, "Revoke", make("span", { class: "unseen" }, ` ${key.name || key.id}`));
    revoke.addEventListener("click", () => {
      const form = section.querySelector('form[data-action="key-revoke"]');
      if (!form) return;
      form.closest("details").open = true;
      form.elements.key.value = key.id;
      form.requestSubmit();
    });
    return [
      make("bdi", {}, key.name || key.id), make("code", {}, key.id), named(key.spent), named(key.per_day ?? "no limit"), named(key.total ?? "no limit"),
      (key.models ?? ["all"]).join(", "), key.revoked ? "revoked" : state.state === "open" ? revoke : "ended with the channel",
    ];
  });
  const title = make("p", {}, make("span", { class: "tag" }, "The gateway\u2019s word"), ` The channel is ${state.state} there.`);
  return [title, facts, rows.length ? table("Keys of this channel", ["Name", "Public name", "Spent#", "A day#", "In all#", "Models", "Revoke"], rows) : make("p", {}, "It has no key.")];
}

/** Shows a new key, once. */
function show(made, state) {
  const box = at("new-key");
  const { base, creditsModel, cashModel } = box.dataset;
  const model = state.coin === "cash" ? cashModel : creditsModel;
  // A model's name is the issuer's: it must not end the shell's quotes.
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const messages = JSON.stringify([{ role: "user", content: "hello" }]);
  at("new-secret").textContent = made;
  at("new-curl").textContent = `curl ${base}/chat/completions -H 'Authorization: Bearer ${made}' -H 'content-type: application/json' \\\n`
    + `  -d ${quoted(JSON.stringify({ model, messages: [{ role: "user", content: "hello" }] }))}`;
  at("new-python").textContent = `from openai import OpenAI\nclient = OpenAI(base_url="${base}", api_key="${made}")\n`
    + `print(client.chat.completions.create(model=${JSON.stringify(model)}, messages=${messages}).choices[0].message.content)`;
  box.hidden = false;
  news = box;
}

/** After the dialog is closed: to what is new, if anything is. */
export function afterwards() {
  const place = news;
  news = null;
  if (!place?.isConnected) return false;
  place.tabIndex = -1;
  place.focus();
  place.scrollIntoView();
  return true;
}

/** What a key comes to, while it is typed. */
export function startKey({ post, words }) {
  let typing;
  document.addEventListener("input", ({ target }) => {
    const form = target.closest?.('form[data-action="key-create"]');
    if (!form) return;
    clearTimeout(typing);
    typing = setTimeout(async () => {
      const { source, amount, ceiling } = Object.fromEntries(new FormData(form));
      if (!amount) return at("key-preview")?.replaceChildren();
      try {
        const told = await post("/preview/key", { source, amount, ceiling });
        at("key-preview")?.replaceChildren(make("ul", {}, ...told.words.map((text) => make("li", {}, text))));
      } catch (error) {
        at("key-preview")?.replaceChildren(make("p", { class: "problem" }, words(error)));
      }
    }, 250);
  });
}

document.addEventListener("click", async ({ target }) => {
  const from = target.closest?.("[data-copy]")?.dataset.copy;
  if (from) {
    try {
      await navigator.clipboard.writeText(at(from).textContent);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(at(from));
      say("The browser does not let this page copy: it is selected, copy it with the keyboard.");
    }
  }
  if (target.id === "new-key-look") document.dispatchEvent(new CustomEvent("api-key", { detail: at("new-secret").textContent }));
});
