// A few words for scripts that check pages.

import assert from "node:assert/strict";

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

/** Presses a form's button, reads what it would do, goes on, waits until it is in a block. */
export async function act(page, form, expected = []) {
  const there = page.locator(form).first();
  await there.waitFor({ state: "visible" });
  await there.locator("button[type=submit]").click();
  await page.locator("#confirm").waitFor({ state: "visible" });
  for (const text of expected) await reads(page, text, "#confirm");
  await page.click("#confirm-go");
  await reads(page, "Done in block", "#confirm");
  await page.click("#confirm-close");
}
