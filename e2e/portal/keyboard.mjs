// A bid from connecting to the position, by keyboard alone, and what a reader of the page hears of it.

import assert from "node:assert/strict";
import { launch, open } from "./browser.mjs";
import { eventually, permit, reads, tabber } from "./check.mjs";
import { moveTo, stage } from "./stage.mjs";

const here = await stage("walk");
const browser = await launch();
try {
  await moveTo(here.rpc, "2026-09-02");
  const page = await open(browser, here, "keys", { viewport: { width: 320, height: 720 } });
  const { focused, tabTo } = tabber(page);
  await page.go("/");
  await page.keyboard.press("Tab");
  assert.equal((await focused()).text, "Skip to content");
  await page.keyboard.press("Enter");
  assert.equal((await focused()).id, "main");

  await page.go("/round/0");
  await tabTo("connect");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Escape");
  assert.equal((await focused()).id, "connect");
  assert.equal(await page.isVisible("#wallets"), false);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal((await focused()).text, "Test <b>wallet</b>");
  await page.keyboard.press("Enter");
  await reads(page, "Connected", "#status");
  assert.equal((await focused()).id, "connect");
  await tabTo("faucet");
  await page.keyboard.press("Enter");
  await reads(page, "came", "#status");
  if (await page.locator("#permit-ask").count()) {
    await tabTo("permit-ask");
    await page.keyboard.press("Enter");
    await reads(page, "good until", "#permit-state");
  } else {
    await permit(page, here, 0);
  }
  await tabTo("bid-cash");
  await page.keyboard.type("1234.5");
  await tabTo("schedule-0");
  await page.keyboard.press("ArrowDown");
  assert.equal((await focused()).id, "schedule-1");
  await reads(page, "buys at most", "#preview");
  await page.keyboard.press("Enter");
  await page.locator("#confirm").waitFor({ state: "visible" });
  assert.equal((await focused()).id, "confirm-title");
  // Cancel by Escape leaves everything typed.
  await page.keyboard.press("Escape");
  assert.equal(await page.inputValue("#bid-cash"), "1234.5");
  await tabTo("Check the bid");
  await page.keyboard.press("Enter");
  await page.locator("#confirm").waitFor({ state: "visible" });
  await tabTo("confirm-go", 5);
  await page.keyboard.press("Enter");
  await reads(page, "Done in block", "#confirm-progress");
  await eventually("focus is on Close", async () => (await focused()).id === "confirm-close");
  await page.keyboard.press("Enter");
  await reads(page, "Done: Place a bid", "#status");
  await reads(page, "1.23K", "#book");

  // The page follows the chain while one types: focus, text and open details stay.
  await page.locator("#permit-load").evaluate((details) => { details.open = true; });
  await page.focus("#bid-cash");
  await page.keyboard.press("End");
  await page.keyboard.type("6");
  await moveTo(here.rpc, "2026-09-03");
  await reads(page, "2026-09-03", "#standing");
  assert.equal((await focused()).id, "bid-cash");
  assert.equal(await page.inputValue("#bid-cash"), "1234.56");
  assert.equal(await page.locator("#permit-load").evaluate((details) => details.open), true);

  await page.go("/");
  await tabTo("Your positions");
  await page.keyboard.press("Enter");
  await page.waitForURL(/wallet=0x/);
  await reads(page, "1,234.5 USDC");
  assert.deepEqual(page.faults, []);
  console.log("keyboard: a bid was made without a mouse");
} finally {
  await browser.close();
  here.close();
}
