// Wallets: found by EIP-6963 or at window.ethereum, connected by EIP-1193, brought to this offering's chain. What a
// wallet says of itself is shown as text and as an image, never as markup.

const body = document.body.dataset;
const chain = `0x${Number(body.chain).toString(16)}`;
const found = new Map();
const KEPT = "earnest wallet";

export const wallet = { provider: null, account: null, name: "" };

/** An error in words, whatever a wallet threw. */
export function inWords(error) {
  const code = error?.code ?? error?.data?.originalError?.code;
  if (code === 4001 || code === "ACTION_REJECTED") return "You declined in your wallet. Nothing was sent.";
  if (code === 4100) return "The wallet has not allowed this page to ask. Connect it again.";
  if (code === 4200) return "The wallet cannot do this. Use another wallet, or the command line.";
  if (code === 4900 || code === 4901) return "The wallet has no connection to the chain.";
  if (code === -32002) return "The wallet is waiting for an earlier question. Open it and answer there.";
  const text = String(error?.message ?? error);
  if (/insufficient funds/i.test(text)) return "The wallet lacks the coin that pays the network's fee. Bring some to it.";
  if (/nonce too low|replacement/i.test(text)) return "The wallet has another transaction under way. Wait for it, then try again.";
  return `The wallet says: ${text.slice(0, 200)}`;
}

export const say = (text) => { document.getElementById("status").textContent = text; };

function changed() { document.dispatchEvent(new Event("wallet")); }

addEventListener("eip6963:announceProvider", ({ detail }) => {
  const { info, provider } = detail ?? {};
  if (typeof info?.uuid !== "string" || typeof provider?.request !== "function" || found.has(info.uuid)) return;
  found.set(info.uuid, { name: String(info.name ?? "A wallet").slice(0, 40), icon: String(info.icon ?? ""), rdns: String(info.rdns ?? ""), provider });
  if (kept() === info.rdns && !wallet.account) resume(found.get(info.uuid));
  if (!list().hidden) show();
});

function kept() { try { return localStorage.getItem(KEPT); } catch { return null; } }
function keep(value) { try { value ? localStorage.setItem(KEPT, value) : localStorage.removeItem(KEPT); } catch { /* private windows may refuse */ } }

const button = () => document.getElementById("connect");
const list = () => document.getElementById("wallets");

function all() {
  const wallets = [...found.values()];
  if (!wallets.length && window.ethereum) wallets.push({ name: "Browser wallet", icon: "", rdns: "window.ethereum", provider: window.ethereum });
  return wallets;
}

/** Fills the list and opens it. */
function show() {
  const box = list();
  box.replaceChildren();
  if (wallet.account) {
    const line = document.createElement("p");
    line.textContent = `${wallet.name}: ${wallet.account}`;
    box.append(line, item("Your positions", () => { location.href = `/positions?wallet=${wallet.account}`; }), item("Disconnect", leave));
  } else {
    const wallets = all();
    if (!wallets.length) {
      const line = document.createElement("p");
      line.textContent = "No wallet was found in this browser. Install one, or use the command line.";
      box.append(line);
    }
    for (const one of wallets) box.append(item(one.name, () => connect(one), one.icon));
  }
  open(true);
}

function item(text, act, icon = "") {
  const entry = document.createElement("button");
  entry.type = "button";
  if (/^data:image\//i.test(icon)) {
    const image = document.createElement("img");
    [image.src, image.alt, image.width, image.height] = [icon, "", 24, 24];
    entry.append(image);
  }
  const name = document.createElement("bdi");
  name.textContent = text;
  entry.append(name);
  entry.addEventListener("click", act);
  return entry;
}

function open(is) {
  list().hidden = !is;
  button().setAttribute("aria-expanded", String(is));
}

async function connect(one) {
  open(false);
  button().focus();
  try {
    say("Waiting for your wallet.");
    const accounts = await one.provider.request({ method: "eth_requestAccounts" });
    take(one, accounts);
    keep(one.rdns);
    say(`Connected: ${wallet.account}.`);
    await ensureChain();
  } catch (error) {
    say(inWords(error));
  }
}

/** Without a question, if the wallet still allows it. */
async function resume(one) {
  try {
    const accounts = await one.provider.request({ method: "eth_accounts" });
    if (accounts.length) take(one, accounts);
  } catch { /* then the person connects again */ }
}

function take(one, accounts) {
  if (!accounts?.[0]) return leave();
  const fresh = wallet.provider !== one.provider;
  [wallet.provider, wallet.account, wallet.name] = [one.provider, accounts[0], one.name];
  if (fresh) {
    one.provider.on?.("accountsChanged", (now) => take(one, now));
    one.provider.on?.("disconnect", leave);
  }
  button().textContent = `Wallet ${wallet.account.slice(0, 6)}\u2026${wallet.account.slice(-4)}`;
  changed();
}

function leave() {
  [wallet.provider, wallet.account] = [null, null];
  keep(null);
  open(false);
  button().textContent = "Connect wallet";
  say("Disconnected.");
  changed();
}

/** Brings the wallet to this offering's chain, adding it where the wallet does not know it. */
export async function ensureChain() {
  const { provider } = wallet;
  if (Number(await provider.request({ method: "eth_chainId" })) === Number(chain)) return;
  try {
    await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId: chain }] });
  } catch (error) {
    const unknown = error?.code === 4902 || error?.data?.originalError?.code === 4902 || /unrecognized chain/i.test(error?.message ?? "");
    if (!unknown || !body.node) throw error;
    await provider.request({ method: "wallet_addEthereumChain", params: [{
      chainId: chain, chainName: body.chainName, rpcUrls: [new URL(body.node, location.href).href],
      nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    }] });
  }
  if (Number(await provider.request({ method: "eth_chainId" })) !== Number(chain)) {
    throw new Error(`your wallet is on another chain than this offering's, ${Number(chain)}`);
  }
}

export function askToConnect() {
  say("Connect a wallet first.");
  button().focus();
}

export function start() {
  button().addEventListener("click", () => (list().hidden ? show() : open(false)));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list().hidden) { open(false); button().focus(); }
  });
  document.addEventListener("click", (event) => {
    if (!list().hidden && !event.target.closest("#wallet")) open(false);
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
  if (kept() === "window.ethereum" && window.ethereum) resume({ name: "Browser wallet", rdns: "window.ethereum", provider: window.ethereum });
}
