// The whole path of a backer, an issuer and a certifier, with the mouse.

import assert from "node:assert/strict";
import { account, launch, looked, open, shot } from "./browser.mjs";
import { act, connect, eventually, permit, reads } from "./check.mjs";
import { call, moveTo, stage } from "./stage.mjs";

const here = await stage("walk");
const browser = await launch();
/** The page goes on by itself to those of the connected wallet. */
const positions = (page) => Promise.all([page.waitForURL(/wallet=0x/), page.go("/positions").catch(() => {})]);
try {
  // Without a wallet and without a script everything can be read.
  const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  for (const path of ["/", "/round/0", "/positions", "/prices", "/providers", "/keys", "/treasury", "/activity", "/audit", "/risks", "/plain-words"]) {
    const answer = await plain.goto(here.url + path);
    assert.equal(answer.status(), 200, path);
    assert.ok((await plain.innerText("main")).length > 30, path);
    assert.match(answer.headers()["content-security-policy"], /default-src 'none'/);
  }
  const bytes = await (await fetch(`${here.url}/document/0`)).text();
  assert.equal(bytes, "The buyer pays cash and gets the right to credits.\n");

  await moveTo(here.rpc, "2026-09-02");
  const ann = await open(browser, here, "ann");
  await ann.go("/");
  await reads(ann, "Walk");
  for (const [path, name] of [["/", "offering"], ["/round/0", "round"], ["/positions", "positions-empty"], ["/treasury", "treasury"], ["/activity", "activity"], ["/audit", "audit"], ["/risks", "risks"], ["/plain-words", "plain-words"], ["/nothing", "missing"]]) {
    await ann.go(path);
    await looked(ann, name);
  }

  // A bid with a cash permit, then raised.
  await ann.go("/round/0");
  await connect(ann);
  await ann.click("#faucet");
  await reads(ann, "came", "#status");
  await permit(ann, here, 0);
  await ann.fill("#bid-cash", "20000");
  await reads(ann, "buys at most 40,000 QCR", "#preview");
  await looked(ann, "round-bid");
  await ann.click('form[data-action="bid"] button[type=submit]');
  await reads(ann, "Bids 20,000 USDC", "#confirm");
  await shot(ann, "dialog");
  await looked(ann, "dialog");
  await ann.click("#confirm-go");
  await reads(ann, "Done in block", "#confirm");
  await shot(ann, "dialog-done");
  await ann.click("#confirm-close");
  assert.ok(ann.wallet.asked.includes("eth_signTypedData_v4"));
  // The book follows by itself, and what was typed stays.
  await reads(ann, "$20K", "#book");
  assert.equal(await ann.inputValue("#bid-cash"), "20000");
  await ann.fill("#bid-cash", "30000");
  await act(ann, 'form[data-action="bid"]', ["Raises your bid", "10,000 USDC more"]);

  // Another wallet approves instead of signing, bids and withdraws in its cooling-off.
  const ben = await open(browser, here, "ben");
  await ben.go("/round/0");
  await connect(ben);
  await ben.click("#faucet");
  await reads(ben, "came", "#status");
  await permit(ben, here, 0);
  await reads(ben, "with cooling-off", "#permit-state");
  await ben.fill("#bid-cash", "5000");
  await act(ben, 'form[data-action="bid"]', ["Bids 5,000 USDC"]);
  await positions(ben);
  await reads(ben, "Cooling-off ends");
  await act(ben, 'form[data-action="withdraw"]', ["Takes back all", "5,000 USDC"]);
  await reads(ben, "Withdrawn in cooling-off");
  await looked(ben, "positions-withdrawn", { pictures: false });

  await positions(ann);
  await reads(ann, "If cleared now it would get");
  await looked(ann, "positions-bid");

  // Cara overfills the round, so that everybody is cut.
  const cara = await open(browser, here, "cara");
  await call(here.rpc, "evm_mine");
  const dan = await open(browser, here, "dan");
  for (const [page, cash] of [[cara, "50000"], [dan, "50000"]]) {
    await page.go("/round/0");
    await connect(page);
    await page.click("#faucet");
    await reads(page, "came", "#status");
    await permit(page, here, 0);
    await page.fill("#bid-cash", cash);
    await act(page, 'form[data-action="bid"]');
  }

  // Cleared by anyone, settled, swept.
  await moveTo(here.rpc, "2026-10-01");
  await dan.go("/round/0");
  await act(dan, 'form[data-action="clear"]', ["Clears"]);
  await reads(dan, "cleared");
  await positions(ann);
  await act(ann, 'form[data-action="settle"]', ["60,000 QCR"]);
  await reads(ann, "Settled yes");
  await looked(ann, "positions-settled");
  await dan.go("/treasury");
  await act(dan, 'form[data-action="sweep"]', ["130,000 USDC"]);

  // The auction: one bid too low loses and takes its refund.
  await moveTo(here.rpc, "2026-10-06");
  for (const [page, cash, limit] of [[ann, "30000", "0.607"], [cara, "50000", "0.8"]]) {
    await page.go("/round/1");
    await permit(page, here, 1);
    await page.fill("#bid-cash", cash);
    await page.fill("#bid-limit", limit);
    if (limit === "0.607") await reads(page, "counts as 0.6", "#preview");
    await page.click("#faucet");
    await reads(page, "came", "#status");
    await act(page, 'form[data-action="bid"]', ["Limit"]);
  }
  const many = await Promise.all([..."efghijk"].map((letter) => open(browser, here, `buyer ${letter}`)));
  for (const page of many) {
    await page.go("/round/1");
    await connect(page);
    await page.click("#faucet");
    await reads(page, "came", "#status");
    await permit(page, here, 1);
    await page.fill("#bid-cash", "50000");
    await page.fill("#bid-limit", "0.78");
    await act(page, 'form[data-action="bid"]');
    await page.context().close();
  }
  await cara.go("/round/1");
  await looked(cara, "auction");
  await moveTo(here.rpc, "2026-10-13");
  await cara.go("/round/1");
  await act(cara, 'form[data-action="clear"]');
  await reads(cara, "cleared");
  await looked(cara, "auction-cleared");
  await act(cara, 'form[data-action="sweep"]');
  await positions(ann);
  await reads(ann, "Lost: all its cash goes back");
  await act(ann, 'form[data-action="refund"]', ["30,000 USDC"]);
  await reads(ann, "taken");

  // The certifier attests that the service is live; after the notice it is.
  const certifier = await open(browser, here, "certifier");
  await certifier.go("/treasury");
  assert.equal(await certifier.locator('form[data-action="attest"]').first().isVisible(), false);
  await connect(certifier);
  await certifier.setInputFiles("#evidence-file-0", { name: "evidence.txt", mimeType: "text/plain", buffer: Buffer.from("it works\n") });
  await eventually("the hash is filled in", async () => /^0x[0-9a-f]{64}$/.test(await certifier.inputValue("#evidence-0")));
  await looked(certifier, "treasury-certifier");
  await act(certifier, 'form[data-action="attest"]', ["Attests that the service is live"]);
  const guardian = await open(browser, here, "guardian");
  await guardian.go("/treasury");
  await connect(guardian);
  await reads(guardian, "Object to that the service is live");

  // Live: the issuer draws, a position is delivered.
  await moveTo(here.rpc, "2026-11-20");
  const issuer = await open(browser, here, "issuer");
  await issuer.go("/treasury");
  await connect(issuer);
  await issuer.fill("#draw-cash", "1000000");
  await issuer.locator('form[data-action="draw"] button[type=submit]').click();
  await reads(issuer, "It would be refused", "#confirm");
  await reads(issuer, "the tap has released", "#confirm");
  await shot(issuer, "dialog-refused");
  await issuer.click("#confirm-close");
  await issuer.fill("#draw-cash", "10000");
  await act(issuer, 'form[data-action="draw"]', ["10,000 USDC"]);
  await looked(issuer, "treasury-drawn");
  await positions(ann);
  await act(ann, 'form[data-action="deliver"]', ["Mints at least"]);
  await reads(ann, "Delivered");
  await looked(ann, "positions-live");
  await positions(cara);
  await looked(cara, "positions-locked");
  for (const [path, name] of [["/", "offering-live"], ["/activity", "activity-full"], ["/audit", "audit-full"]]) {
    await ann.go(path);
    await looked(ann, name);
  }
  for (const page of [ann, ben, cara, dan, certifier, guardian, issuer]) assert.deepEqual(page.faults, []);
  console.log(`walk: ${account("ann").address} went all the way`);
} finally {
  await browser.close();
  here.close();
}
