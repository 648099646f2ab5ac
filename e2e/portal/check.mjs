// A few words for scripts that check pages.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { account } from "./browser.mjs";
import { call } from "./stage.mjs";

/** Waits until something holds, or says what was there instead. */
export async function eventually(what, holds, patience = 15_000) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await holds();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) assert.fail(`${what}: ${last?.message ?? last}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Waits for words on the page. */
export const reads = (page, text, within = "body") => eventually(`the page reads ${text}`, async () => {
  const found = await page.locator(within).first().innerText();
  return found.replace(/\s+/g, " ").includes(text) || Promise.reject(new Error(found.slice(0, 1500)));
});

export async function connect(page) {
  await page.click("#connect");
  await page.locator("#wallets button").first().click();
  await reads(page, "Connected", "#status");
}

/** Presses a form's button, reads what it would do, goes on, waits until it is done: in a block, if nothing else is said. */
export async function act(page, form, expected = [], done = "Done in block") {
  const there = page.locator(form).first();
  await there.waitFor({ state: "visible" });
  await there.locator("button[type=submit]").click();
  await page.locator("#confirm").waitFor({ state: "visible" });
  for (const text of expected) await reads(page, text, "#confirm");
  await page.click("#confirm-go");
  await reads(page, done, "#confirm");
  await page.click("#confirm-close");
}

/** What has the focus, and how to get there with Tab. */
export function tabber(page) {
  const focused = () => page.evaluate(() => {
    const at = document.activeElement;
    return { id: at.id, text: (at.innerText ?? "").trim().replace(/\s+/g, " "), tag: at.tagName, outline: getComputedStyle(at).outlineStyle };
  });
  /** Presses Tab until this has the focus; all on the way can be seen to have it. */
  const tabTo = async (what, most = 60) => {
    for (let i = 0; i < most; i += 1) {
      await page.keyboard.press("Tab");
      const at = await focused();
      if (at.tag !== "BODY") assert.notEqual(at.outline, "none", `${at.tag} ${at.id} shows its focus`);
      if (at.id === what || at.text === what) return;
    }
    assert.fail(`Tab does not lead to ${what}`);
  };
  return { focused, tabTo };
}

/** A purchase permit for the page's wallet: from the attester where there is one, else a file as the attester gives it. */
export async function permit(page, here, round) {
  if (await page.locator("#permit-ask").count()) {
    await page.click("#permit-ask");
  } else {
    await page.locator("#permit-load").evaluate((details) => { details.open = true; });
    const text = await signed(here, page.address, round);
    await page.setInputFiles("#permit-file", { name: "permit.json", mimeType: "application/json", buffer: Buffer.from(text) });
  }
  await reads(page, "good until", "#permit-state");
}

/** As the development attester signs it: of the plan's regimes the second has cooling-off, for the first round. */
async function signed(here, wallet, round) {
  const record = await (await fetch(`${here.url}/deployment.json`)).json();
  const { timestamp } = await call(here.rpc, "eth_getBlockByNumber", ["latest", false]);
  const now = Number(timestamp);
  const entity = Number.parseInt(wallet.slice(2, 12), 16);
  const fields = {
    entity, wallet, round, min_cash: 100_000_000, max_cash: 50_000_000_000 * (round + 1) ** 2, max_total: 2n ** 64n - 1n, first: 0, last: 65535,
    not_before: now, expiry: now + 30 * 86400, jurisdiction: 17477, lock_class: round === 0 ? 1 : 0, affiliate: false,
    cooling_off: round === 0, generation: 1, terms_hash: record.terms_hash,
  };
  const { abi } = JSON.parse(readFileSync(new URL("../../contracts/artifacts/Offering.json", import.meta.url), "utf8"));
  const components = abi.find(({ name }) => name === "bid").inputs.find(({ name }) => name === "permit").components;
  const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const message = Object.fromEntries(components.map(({ name, type }) => [name, type.startsWith("uint") ? BigInt(fields[snake(name)]) : fields[snake(name)]]));
  const signature = await account("attester").signTypedData({
    domain: { name: "Earnest Offering", version: "1", chainId: record.chain_id, verifyingContract: record.contracts.offering },
    types: { PurchasePermit: components.map(({ name, type }) => ({ name, type })) },
    primaryType: "PurchasePermit",
    message,
  });
  const whole = { chain_id: record.chain_id, offering: record.contracts.offering, ...fields, signature };
  // JSON here has no numbers of 64 bits.
  return JSON.stringify(whole, (_, value) => (typeof value === "bigint" ? `#${value}#` : value)).replace(/"#(\d+)#"/g, "$1");
}
