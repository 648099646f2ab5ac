// What pages weigh and how soon they can be used with ten thousand bids in the book. The chain is prepared here: with
// anvil's accounts played by anyone (anvil_impersonateAccount) bids are sent as the wallets themselves, each with a permit
// signed by the development attester. BIDS says how many.

import assert from "node:assert/strict";
import { encodeFunctionData, hexToNumber, keccak256, parseAbi, toBytes } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { readFileSync } from "node:fs";
import { launch } from "./browser.mjs";
import { eventually } from "./check.mjs";
import { call, moveTo, stage } from "./stage.mjs";

const BIDS = Number(process.env.BIDS ?? 10_000);
const BATCH = 60;
const here = await stage("book");
const record = await (await fetch(`${here.url}/deployment.json`)).json();
const { offering, cash } = record.contracts;
const attester = privateKeyToAccount(keccak256(toBytes("earnest dev attester")));
const root = new URL("../../contracts/artifacts/", import.meta.url);
const { abi } = JSON.parse(readFileSync(new URL("Offering.json", root), "utf8"));
const coin = parseAbi(["function mint(address,uint256)", "function approve(address,uint256)"]);
const types = { PurchasePermit: abi.find(({ name }) => name === "bid").inputs.find(({ name }) => name === "permit").components.map(({ name, type }) => ({ name, type })) };
const domain = { name: "Earnest Offering", version: "1", chainId: 31337, verifyingContract: offering };
const rich = record.deployer;
let minted;

async function batch(asks) {
  const answers = await (await fetch(here.rpc, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(asks.map(([method, params], id) => ({ jsonrpc: "2.0", id, method, params }))),
  })).json();
  const failed = answers.find(({ error }) => error);
  if (failed) throw new Error(JSON.stringify(failed.error));
}

async function bid(entity) {
  const wallet = `0x${(0xabcdef0000000000n + BigInt(entity)).toString(16).padStart(40, "0")}`;
  const amount = BigInt(100 + (entity * 7919) % 900) * 1_000_000n;
  const permit = {
    entity: BigInt(entity), wallet, round: 1n, minCash: 1n, maxCash: 10n ** 12n, maxTotal: 2n ** 64n - 1n, first: 0n, last: 4095n,
    notBefore: 0n, expiry: 2n ** 39n, jurisdiction: 0n, lockClass: 0n, affiliate: false, coolingOff: false, generation: 1n, termsHash: record.terms_hash,
  };
  const signature = await attester.signTypedData({ domain, types, primaryType: "PurchasePermit", message: permit });
  const tick = BigInt(Math.floor((entity * 104729) % 2000 * ((entity % 7) + 1) / 7));
  // A batch is answered in no order: nonces say which comes first.
  const send = (from, nonce, to, data) => ["eth_sendTransaction", [{ from, nonce: `0x${nonce.toString(16)}`, to, data, gas: "0x60000", gasPrice: "0x0" }]];
  await call(here.rpc, "anvil_impersonateAccount", [wallet]);
  return [
    send(rich, minted++, cash, encodeFunctionData({ abi: coin, functionName: "mint", args: [wallet, amount] })),
    send(wallet, 0, cash, encodeFunctionData({ abi: coin, functionName: "approve", args: [offering, amount] })),
    send(wallet, 1, offering, encodeFunctionData({ abi, functionName: "bid", args: [amount, tick, 0n, permit, signature] })),
  ];
}

const browser = await launch();
try {
  await moveTo(here.rpc, "2026-10-06");
  await call(here.rpc, "anvil_setNextBlockBaseFeePerGas", ["0x0"]);
  await call(here.rpc, "anvil_impersonateAccount", [rich]);
  await call(here.rpc, "evm_setAutomine", [false]);
  minted = hexToNumber(await call(here.rpc, "eth_getTransactionCount", [rich, "latest"]));
  for (let from = 1; from <= BIDS; from += BATCH) {
    const many = await Promise.all(Array.from({ length: Math.min(BATCH, BIDS - from + 1) }, (_, i) => bid(from + i)));
    // Cash first, in a block of its own: within a block nothing says what comes first.
    for (const asks of [many.flatMap(([mint, approve]) => [mint, approve]), many.map(([, , bid]) => bid)]) {
      await batch(asks);
      await call(here.rpc, "anvil_setNextBlockBaseFeePerGas", ["0x0"]);
      await call(here.rpc, "anvil_mine", ["0x2"]);
    }
  }
  await eventually("the portal has read all bids", async () => (await (await fetch(`${here.url}/round/1`)).text()).includes(`<dd>${BIDS.toLocaleString("en-US")}</dd>`), Number(process.env.PATIENCE ?? 300_000));

  const paths = ["/", "/round/0", "/round/1", "/positions?wallet=0x000000000000000000000000abcdef0000000001", "/prices", "/providers", "/keys?wallet=0x000000000000000000000000abcdef0000000001", "/treasury", "/activity", "/audit", "/risks", "/plain-words"];
  const page = await (await browser.newContext()).newPage();
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  const rows = [];
  for (const path of paths) {
    let bytes = 0;
    const count = ({ encodedDataLength }) => { bytes += encodedDataLength; };
    session.on("Network.loadingFinished", count);
    await session.send("Network.setCacheDisabled", { cacheDisabled: true });
    await page.goto(here.url + path, { waitUntil: "load" });
    // Scripts are modules: they have run by the end of DOMContentLoaded, and from then on every button answers.
    const times = await page.evaluate(() => {
      const [entry] = performance.getEntriesByType("navigation");
      const shift = new Promise((resolve) => {
        let sum = 0;
        new PerformanceObserver((list) => { for (const found of list.getEntries()) sum += found.value; }).observe({ type: "layout-shift", buffered: true });
        setTimeout(() => resolve(sum), 300);
      });
      return shift.then((sum) => ({ answer: entry.responseEnd, interactive: entry.domContentLoadedEventEnd, shift: sum }));
    });
    session.off("Network.loadingFinished", count);
    const html = (await (await fetch(here.url + path)).text()).length;
    const parts = (await (await fetch(`${here.url}${path}${path.includes("?") ? "&" : "?"}parts`)).text()).length;
    rows.push({ path: path.split("?")[0], kilobytes: Math.round(bytes / 100) / 10, html: Math.round(html / 100) / 10, parts: Math.round(parts / 100) / 10, answer_ms: Math.round(times.answer), interactive_ms: Math.round(times.interactive), shift: Math.round(times.shift * 1000) / 1000 });
  }
  console.table(rows);
  for (const row of rows) {
    assert.ok(row.kilobytes < 150, `${row.path} weighs ${row.kilobytes} KB`);
    assert.ok(row.interactive_ms < 1000, `${row.path} takes ${row.interactive_ms} ms`);
    assert.ok(row.shift < 0.05, `${row.path} moves by ${row.shift}`);
  }
} finally {
  await browser.close();
  here.close();
}
