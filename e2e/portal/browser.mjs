// Chromium with a wallet in it: an EIP-6963 provider in the page, whose keys and will stay here.

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { createWalletClient, http, keccak256, toBytes } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { call } from "./stage.mjs";

const axe = readFileSync(fileURLToPath(new URL("../node_modules/axe-core/axe.min.js", import.meta.url)), "utf8");
const shots = process.env.EARNEST_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });
const ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='8' height='8'%3E%3Crect width='8' height='8' fill='teal'/%3E%3C/svg%3E";

export const launch = () => chromium.launch({
  executablePath: process.env.EARNEST_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});

/** A development key by name. */
export const account = (name) => privateKeyToAccount(keccak256(toBytes(`earnest dev ${name}`)));

/** A page whose wallet has this account; what the wallet does can be changed while it runs. */
export async function open(browser, { url, rpc }, name, options = {}) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const mind = { account: account(name), chainId: 31337, knows: true, declines: new Set(), asked: [] };
  page.wallet = mind;
  page.address = mind.account.address;
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  // An answer that is an error has words on the page; everything else that the console calls one is a fault.
  page.on("console", (message) => message.type() === "error" && !/status of [45]/.test(message.text()) && page.faults.push(message.text()));
  page.on("dialog", (dialog) => { page.faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  await call(rpc, "anvil_setBalance", [page.address, "0x56bc75e2d63100000"]).catch(() => {});
  await page.exposeFunction("walletRequest", async ({ method, params = [] }) => {
    try {
      return { result: await request(mind, rpc, method, params) };
    } catch (error) {
      return { error: { code: error.code ?? -32603, message: error.shortMessage ?? error.message } };
    }
  });
  await page.addInitScript((icon) => {
    const provider = {
      async request(ask) {
        const { result, error } = await window.walletRequest(JSON.parse(JSON.stringify(ask)));
        if (error) throw Object.assign(new Error(error.message), { code: error.code });
        return result;
      },
      on() {},
    };
    const info = { uuid: "b7ad0c8c-0000-4000-8000-000000000001", name: "Test <b>wallet</b>", icon, rdns: "org.example.test" };
    const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
    addEventListener("eip6963:requestProvider", announce);
    announce();
  }, ICON);
  page.go = async (path) => { await page.goto(url + path); await page.waitForLoadState("load"); };
  return page;
}

async function request(mind, rpc, method, params) {
  mind.asked.push(method);
  if (mind.declines.has(method)) throw Object.assign(new Error("User rejected the request."), { code: 4001 });
  const client = () => createWalletClient({ account: mind.account, chain: { id: 31337, name: "dev", nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [rpc] } } }, transport: http(rpc) });
  switch (method) {
    case "eth_requestAccounts": mind.connected = true; return [mind.account.address];
    case "eth_accounts": return mind.connected ? [mind.account.address] : [];
    case "eth_chainId": return `0x${mind.chainId.toString(16)}`;
    case "wallet_switchEthereumChain":
      if (!mind.knows) throw Object.assign(new Error("Unrecognized chain ID"), { code: 4902 });
      mind.chainId = Number(params[0].chainId);
      return null;
    case "wallet_addEthereumChain": mind.knows = true; mind.added = params[0]; mind.chainId = Number(params[0].chainId); return null;
    case "personal_sign": return mind.account.signMessage({ message: { raw: params[0] } });
    case "eth_signTypedData_v4": {
      const { domain, types: { EIP712Domain: _, ...types }, primaryType, message } = JSON.parse(params[1]);
      const viem = { domain: { ...domain, chainId: Number(domain.chainId) }, types, primaryType, message };
      mind.typed?.push({ primaryType, message, viem });
      return mind.account.signTypedData(viem);
    }
    case "eth_sendTransaction": {
      if (mind.chainId !== 31337) throw new Error("wrong chain");
      const { to, data, value } = params[0];
      return client().sendTransaction({ to, data, value: BigInt(value ?? 0) });
    }
    default: return call(rpc, method, params);
  }
}

/** No serious or critical violation, in light and dark, wide and narrow; a picture of each. No value that is none. */
export async function looked(page, name, { pictures = true } = {}) {
  const none = (await page.locator("body").innerText()).match(/.*\b(undefined|NaN|null)\b.*/);
  if (none) throw new Error(`${name} reads ${JSON.stringify(none[0])}`);
  for (const scheme of ["light", "dark"]) {
    for (const [width, height] of [[1280, 900], [320, 720]]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
      if (bad.length) throw new Error(`${name} ${scheme} ${width}: ${JSON.stringify(bad.map(({ id, nodes }) => [id, nodes.slice(0, 3).map((node) => node.html)]))}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) throw new Error(`${name} ${scheme} ${width}: ${wide} px wider than the screen`);
      if (shots && pictures) await page.screenshot({ path: join(shots, `${name}-${scheme}-${width}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

export async function shot(page, name) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}
