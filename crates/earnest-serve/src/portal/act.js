// Forms that become transactions: the server makes each, tries it out and says in words what it does; only then is the
// wallet asked. Also shows what the connected wallet may do, by its role.

import "/asset/live.js";
import { askToConnect, ensureChain, inWords, say, start, wallet } from "/asset/wallet.js";
import { bidBody, startBid } from "/asset/bid.js";
import { afterwards, followed, give, keyBody, plainSignature, startKey } from "/asset/key.js";

const body = document.body.dataset;
const dialog = document.getElementById("confirm");
const part = (name) => document.getElementById(`confirm-${name}`);

/** Asks the server, for text; an answer that is an error is thrown with its words. */
async function text(path, data) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) });
  const found = await answer.text();
  let read = { error: "The server does not answer.", hint: "Try again in a moment." };
  try { read = JSON.parse(found); } catch { /* then that is the error */ }
  if (read.error) throw Object.assign(new Error(`${sentence(read.error)} ${sentence(read.hint ?? "")}`), { told: true });
  return found;
}

/** The same, as JSON. */
const post = async (path, data) => JSON.parse(await text(path, data));

const sentence = (words) => (words ? `${words[0].toUpperCase()}${words.slice(1)}`.replace(/[.\s]*$/, ".") : "");

const words = (error) => (error?.told ? error.message : error instanceof TypeError ? "The server cannot be reached. Nothing was sent." : inWords(error));

// ---- roles

const equal = (a, b) => Boolean(a && b) && a.toLowerCase() === b.toLowerCase();

function may(form) {
  switch (form.dataset.role) {
    case "anyone": return true;
    case "owner": return equal(wallet.account, form.closest("[data-owner]")?.dataset.owner);
    default: return equal(wallet.account, body[form.dataset.role]);
  }
}

/** Pages of one wallet. */
const OWN = ["/positions", "/keys"];

function reveal() {
  let hidden = 0;
  for (const form of document.querySelectorAll("form.act")) {
    form.hidden = !may(form);
    hidden += form.hidden ? 1 : 0;
  }
  for (const note of document.querySelectorAll(".unacted")) note.hidden = hidden === 0 || Boolean(wallet.account);
  for (const path of OWN) {
    for (const link of document.querySelectorAll(`nav a[href^="${path}"]`)) link.href = wallet.account ? `${path}?wallet=${wallet.account}` : path;
  }
  const faucet = document.getElementById("faucet");
  if (faucet) faucet.toggleAttribute("data-idle", !wallet.account);
  if (OWN.includes(location.pathname) && wallet.account && !new URLSearchParams(location.search).get("wallet")) {
    location.replace(`${location.pathname}?wallet=${wallet.account}`);
  }
}

// ---- one transaction, from the form to its block

function problem(form, text) {
  const line = form.querySelector(".problem");
  line.textContent = text;
  line.hidden = !text;
}

function progress(text) {
  const line = document.createElement("li");
  line.textContent = text;
  part("progress").append(line);
  return line;
}

function explain(answer) {
  part("title").textContent = answer.title;
  const list = document.createElement("ul");
  for (const text of answer.words) list.append(Object.assign(document.createElement("li"), { textContent: text }));
  const parts = [list];
  if (answer.checks.length) {
    const checks = Object.assign(document.createElement("ul"), { className: "checks" });
    for (const { ok, words: text } of answer.checks) {
      const line = document.createElement("li");
      line.className = ok ? "ok" : "not";
      line.textContent = `${ok ? "Yes" : "No"}: ${text}`;
      checks.append(line);
    }
    parts.push(Object.assign(document.createElement("h3"), { textContent: "Checked" }), checks);
  }
  if (answer.kind === "refused") {
    const line = Object.assign(document.createElement("p"), { className: "problem" });
    line.textContent = `It would be refused. ${answer.refused.what} ${answer.refused.remedy}`;
    parts.push(line);
  } else {
    const text = {
      sign: "Your wallet asks twice: first for a signature that lets the offering take just this cash, then for the transaction that bids with it.",
      approve: "Your wallet asks twice: first for an approval of just this cash, a transaction of its own, then for the bid.",
      send: "Tried out just now: the contract would accept it.",
    }[answer.kind];
    if (text) parts.push(Object.assign(document.createElement("p"), { className: "quiet", textContent: text }));
  }
  part("body").replaceChildren(...parts);
  part("progress").replaceChildren();
  part("go").hidden = answer.kind === "refused";
  part("go").disabled = false;
  part("close").textContent = answer.kind === "refused" ? "Close" : "Cancel";
}

async function send({ to, data }, what) {
  progress(`Waiting for your wallet to send ${what}.`);
  const hash = await wallet.provider.request({ method: "eth_sendTransaction", params: [{ from: wallet.account, to, data, value: "0x0" }] });
  progress(`Sent as ${hash}. Waiting for a block.`);
  const receipt = await included(hash);
  if (Number(receipt.status) !== 1) throw Object.assign(new Error("The transaction failed in its block: things had changed since it was tried out."), { failed: true });
  progress(`Done in block ${Number(receipt.blockNumber)}.`);
}

/** The receipt, looked for at every new head and now and then between. */
async function included(hash) {
  for (;;) {
    const receipt = await wallet.provider.request({ method: "eth_getTransactionReceipt", params: [hash] });
    if (receipt?.blockNumber) return receipt;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, 2000);
      document.addEventListener("head", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}

const sign = (data) => wallet.provider.request({ method: "eth_signTypedData_v4", params: [wallet.account, JSON.stringify(data)] });

async function carryOut(action, ask, answer, form) {
  await ensureChain();
  const on = async (more) => {
    const all = { ...ask, ...more };
    const again = async () => next(await post(`/tx/${action}`, all));
    // What was signed for a key stays signed: a second try goes on from here.
    if (action.startsWith("key-")) part("go").onclick = () => go(action, all, again, form);
    return carryOut(action, all, await again(), form);
  };
  if (answer.kind === "sign-on") {
    progress(answer.waiting);
    return on({ ...answer.keep, [answer.field]: plainSignature(await sign(answer.typed_data)) });
  }
  if (answer.kind === "send-on") {
    await send(answer, "the deposit");
    progress("The deposit stands in your channel. If it ends here, a key can be made for that channel on this page.");
    return on(answer.keep);
  }
  if (answer.kind === "order") {
    progress("Waiting for your wallet to sign the order for the gateway.");
    const signature = await sign(answer.typed_data);
    progress("The gateway follows it.");
    followed(form, action, await give(answer, signature));
    progress("Done: the gateway has confirmed it.");
    return;
  }
  if (answer.kind === "sign") {
    progress("Waiting for your wallet to sign the cash permit.");
    const signature = await sign(answer.typed_data);
    // A contract wallet's signature is not one that the coin takes: then an approval does the same.
    const plain = /^0x[0-9a-f]{130}$/i.test(signature);
    const more = plain ? { cash_permit: { value: answer.value, deadline: answer.deadline, signature } } : { approve: true };
    return on(more);
  }
  if (answer.kind === "approve") {
    await send(answer, "the approval");
    return on({});
  }
  return send(answer, "the transaction");
}

function next(answer) {
  if (answer.kind === "refused") throw Object.assign(new Error(`${answer.refused.what} ${answer.refused.remedy}`), { told: true });
  return answer;
}

/** What opened the dialog: it was disabled meanwhile, and so has lost the focus. */
let opener;

async function submitted(form) {
  problem(form, "");
  if (!wallet.account) return askToConnect();
  const { action } = form.dataset;
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  try {
    const ask = { ...Object.fromEntries([...new FormData(form)].filter(([, value]) => typeof value === "string")), wallet: wallet.account };
    if (action === "bid") Object.assign(ask, bidBody());
    if (action.startsWith("key-")) Object.assign(ask, await keyBody(action));
    const answer = await post(`/tx/${action}`, ask);
    opener = button;
    explain(answer);
    part("go").onclick = () => go(action, ask, answer, form);
    dialog.showModal();
    part("title").focus();
  } catch (error) {
    problem(form, words(error));
  } finally {
    button.disabled = false;
  }
}

async function go(action, ask, answer, form) {
  part("go").disabled = true;
  part("close").disabled = true;
  try {
    await carryOut(action, ask, typeof answer === "function" ? await answer() : answer, form);
    part("go").hidden = true;
    part("close").textContent = "Close";
    part("close").disabled = false;
    part("close").focus();
    say(`Done: ${part("title").textContent}.`);
  } catch (error) {
    progress(error.failed ? error.message : words(error)).className = "problem";
    if (error.failed) {
      const again = await post(`/tx/${action}`, ask).catch(() => null);
      if (again?.refused) progress(`${again.refused.what} ${again.refused.remedy}`).className = "problem";
    }
    part("go").disabled = false;
    part("close").disabled = false;
    part("close").textContent = "Close";
    part("go").focus();
  }
}

// ---- start

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.act")) return;
  event.preventDefault();
  submitted(event.target);
});
part("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => { if (!afterwards()) opener?.focus(); });
dialog.addEventListener("cancel", (event) => { if (part("close").disabled) event.preventDefault(); });
document.addEventListener("change", async ({ target }) => {
  const into = target.dataset?.hashInto;
  if (!into || !target.files[0]) return;
  const answer = await fetch("/hash", { method: "POST", body: target.files[0] }).then((found) => found.json()).catch(() => null);
  if (answer?.keccak256) document.getElementById(into).value = answer.keccak256;
  else problem(target.form, "The file could not be hashed; it may be too large. Give the hash itself.");
});
document.getElementById("faucet")?.addEventListener("click", async () => {
  try {
    say((await post("/faucet", { wallet: wallet.account })).words);
  } catch (error) {
    say(words(error));
  }
});
for (const event of ["wallet", "parts"]) document.addEventListener(event, reveal);
start();
startBid({ post, text, words });
startKey({ post, words });
reveal();
