// Who has dialled in, by the gateway's word, and the documents behind statements, which the portal holds against the
// chain.

import { ask, gateway, make, problem, table, words } from "/asset/ask.js";

const percent = (bps) => `${Number(bps) / 100}%`;

async function who(box) {
  const { data } = await ask("/earnest/providers");
  const rows = data.map((one) => [
    make("code", {}, String(one.provider)),
    (one.models ?? []).join(", ") || "none",
    one.own ? "nothing: the issuer\u2019s own, so all of it is burned or the issuer\u2019s" : percent(one.ask_bps),
    one.well ? "well" : "rests after failures",
    String(one.in_flight),
  ]);
  box.replaceChildren(rows.length
    ? table("Providers that are connected", ["Provider", "Models", "Asks of the charge", "Health", "Requests now#"], rows)
    : make("p", {}, "Nobody has dialled in: requests are answered 503 until somebody does."));
}

async function statement(box, { coin, number }) {
  const told = await ask(`/earnest/statements/${coin}/${number}`);
  const answer = await fetch("/statement", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(told) });
  const { checks, parts, error, hint } = await answer.json();
  if (error) throw Object.assign(new Error(`${error} ${hint ?? ""}`), { told: true });
  const list = make("ul", { class: "checks" }, ...checks.map(({ ok, words: text }) => make("li", { class: ok ? "ok" : "not" }, `${ok ? "Yes" : "No"}: ${text}`)));
  const rows = parts.map((part) => [make("code", {}, part.provider), part.earned, part.taken ?? "not asked", part.due ?? "not asked"]);
  const good = checks.every(({ ok }) => ok);
  box.replaceChildren(
    make("p", {}, make("span", { class: "tag" }, good ? "Held against the chain" : "Does not agree with the chain"), " The gateway\u2019s document of this statement."),
    list,
    rows.length ? table(`What each provider has earned in ${coin}`, ["Provider", "Earned#", "Taken (chain)#", "Still due#"], rows) : make("p", {}, "No provider has earned anything of it."),
  );
  done.set(coin, number);
}

/** Statements that are shown, by coin; and what is being asked for. */
const done = new Map();
const busy = new Set();

async function fill(box, what, of) {
  if (busy.has(box)) return;
  busy.add(box);
  try {
    await what(box, of);
  } catch (error) {
    box.replaceChildren(problem(words(error)));
  } finally {
    busy.delete(box);
  }
}

function look() {
  if (!gateway) return;
  const box = document.getElementById("gateway-providers");
  if (box) fill(box, who);
  for (const one of document.querySelectorAll(".document")) {
    const { coin, number } = one.dataset;
    if (done.get(coin) !== number) fill(one.firstElementChild, statement, { coin, number });
  }
}

look();
document.addEventListener("parts", look);
