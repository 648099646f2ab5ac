// A key from connecting to its usage, by keyboard alone on a narrow screen.

import assert from "node:assert/strict";
import { launch, open } from "./browser.mjs";
import { eventually, reads, tabber } from "./check.mjs";
import { moveTo, stage } from "./stage.mjs";

const here = await stage("spend");
const browser = await launch();
try {
  await moveTo(here.rpc, "2026-09-02");
  const page = await open(browser, here, "keys", { viewport: { width: 320, height: 720 } });
  const { focused, tabTo } = tabber(page);
  await page.go("/");
  await tabTo("API keys");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/keys/);
  await tabTo("connect");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await Promise.all([page.waitForURL(/wallet=0x/), page.keyboard.press("Enter")]);
  await reads(page, "nothing to make a key from");
  await tabTo("faucet");
  await page.keyboard.press("Enter");
  await reads(page, "came", "#status");
  await page.locator("#key-amount").waitFor({ state: "visible" });
  await tabTo("source-0");
  await tabTo("key-amount");
  await page.keyboard.type("20");
  await tabTo("key-ceiling");
  await page.keyboard.type("5");
  await tabTo("key-name");
  await page.keyboard.type("by hand");
  await tabTo("Check and make the key");
  await page.keyboard.press("Enter");
  await page.locator("#confirm").waitFor({ state: "visible" });
  await eventually("focus is on confirm-title", async () => (await focused()).id === "confirm-title");
  await page.keyboard.press("Escape");
  assert.equal(await page.inputValue("#key-amount"), "20");
  await eventually("the focus is back where it was", async () => (await focused()).text === "Check and make the key");
  await page.keyboard.press("Enter");
  await page.locator("#confirm").waitFor({ state: "visible" });
  await tabTo("confirm-go", 5);
  await page.keyboard.press("Enter");
  await eventually("focus is on Close", async () => (await focused()).id === "confirm-close");
  await reads(page, "the gateway has confirmed it", "#confirm-progress");
  await page.keyboard.press("Enter");
  await eventually("focus is on new-key", async () => (await focused()).id === "new-key");
  const secret = await page.innerText("#new-secret");
  await tabTo("Show its balance and usage");
  await page.keyboard.press("Enter");
  await eventually("focus is on what the key has", async () => (await focused()).id === "key-view");
  await reads(page, "Left to use now 5 USDC", "#key-view");

  // Reloaded, the tab still knows the key; forgotten, it does not. The secret itself is shown no more.
  await page.reload();
  await reads(page, "Left to use now 5 USDC", "#key-view");
  assert.equal((await page.content()).includes(secret), false);
  await tabTo("Forget the key");
  await page.keyboard.press("Enter");
  await eventually("focus is on api-key", async () => (await focused()).id === "api-key");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);

  // Managed without a mouse, too.
  await tabTo("Ask the gateway");
  await page.keyboard.press("Enter");
  await page.locator("#confirm").waitFor({ state: "visible" });
  await tabTo("confirm-go", 5);
  await page.keyboard.press("Enter");
  await eventually("focus is on Close", async () => (await focused()).id === "confirm-close");
  await page.keyboard.press("Enter");
  await tabTo("Revoke by hand");
  await page.keyboard.press("Enter");
  await reads(page, "answers 401 to this key", "#confirm");
  await page.keyboard.press("Escape");
  assert.deepEqual(page.faults, []);
  console.log("keyboard: a key was made without a mouse");
} finally {
  await browser.close();
  here.close();
}
