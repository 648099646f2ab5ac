// What goes wrong: hostile words in the plan, a wallet that declines, another chain, too little cash, limits, a round
// that is closed, a chain that stops answering. Each must end in words, and none in a script.

import assert from "node:assert/strict";
import { launch, looked, open, shot } from "./browser.mjs";
import { connect, eventually, permit, reads } from "./check.mjs";
import { moveTo, stage } from "./stage.mjs";

const here = await stage("hostile");
const browser = await launch();
try {
  await moveTo(here.rpc, "2026-09-02");
  const eve = await open(browser, here, "eve");
  for (const path of ["/", "/round/0", "/round/1", "/positions?wallet=%22%3E%3Cscript%3Ealert(20)%3C/script%3E", "/prices", "/providers", "/keys?wallet=%22%3E%3Cscript%3Ealert(22)%3C/script%3E", "/treasury", "/activity", "/audit", "/risks", "/plain-words", "/%3Cscript%3Ealert(21)%3C/script%3E"]) {
    await eve.go(path);
    assert.equal(await eve.locator("main script, main iframe, main img, main b, main i:not(.legend i)").count(), 0, path);
    await looked(eve, `hostile${path.replace(/[^a-z0-9]+/gi, "-").slice(0, 20)}`);
  }
  assert.deepEqual(eve.faults, []);
  const title = await eve.title();
  assert.ok(title.includes("<script>"), title);

  const submit = async () => eve.click('form[data-action="bid"] button[type=submit]');
  const problem = (text) => reads(eve, text, 'form[data-action="bid"] .problem');
  await eve.go("/round/0");

  // No wallet, then one that declines to connect.
  await submit();
  await reads(eve, "Connect a wallet first", "#status");
  eve.wallet.declines.add("eth_requestAccounts");
  await eve.click("#connect");
  await eve.locator("#wallets button").first().click();
  await reads(eve, "You declined in your wallet", "#status");
  eve.wallet.declines.clear();

  // On another chain, which the wallet does not know: it is added.
  eve.wallet.chainId = 1;
  eve.wallet.knows = false;
  await connect(eve);
  await eventually("the chain was added", async () => eve.wallet.chainId === 31337);
  assert.equal(eve.wallet.added.chainId, "0x7a69");

  // No permit; no amount; no number; outside limits; no cash.
  await eve.fill("#bid-cash", "500");
  await submit();
  await problem("There is no purchase permit yet");
  if (await eve.locator("#permit-ask").count()) {
    eve.wallet.declines.add("personal_sign");
    await eve.click("#permit-ask");
    await reads(eve, "You declined", "#permit-problem");
    eve.wallet.declines.clear();
  }
  await eve.locator("#permit-load summary").click();
  await eve.fill("#permit-text", "{\"round\":7}");
  await eve.click("#permit-take");
  await reads(eve, "not a permit for this round", "#permit-problem");
  await permit(eve, here, 0);
  for (const text of ["1,000", "-5", "1e3", "\u202e100", "<b>", "0.0000001"]) {
    await eve.fill("#bid-cash", text);
    await submit();
    await problem("not a plain decimal");
  }
  const refused = async (text) => {
    await submit();
    await eve.locator("#confirm").waitFor({ state: "visible" });
    await reads(eve, "It would be refused", "#confirm");
    await reads(eve, text, "#confirm");
    assert.equal(await eve.isVisible("#confirm-go"), false);
    await eve.click("#confirm-close");
  };
  await eve.fill("#bid-cash", "5");
  await refused("outside what your permit allows: 100 USDC to 50,000 USDC");
  await eve.fill("#bid-cash", "500");
  await refused("The wallet has 0 USDC and needs 500 USDC");
  await shot(eve, "trouble-no-cash");
  await eve.click("#faucet");
  await reads(eve, "came", "#status");

  // Declined at the signature, then at the transaction; nothing is lost by it.
  for (const method of ["eth_signTypedData_v4", "eth_sendTransaction"]) {
    eve.wallet.declines.add(method);
    await submit();
    await eve.click("#confirm-go");
    await reads(eve, "You declined in your wallet. Nothing was sent.", "#confirm-progress");
    eve.wallet.declines.clear();
    await eve.click("#confirm-close");
  }
  // Someone else's permit.
  const mine = await eve.evaluate(() => Object.entries(localStorage).find(([key]) => key.startsWith("earnest permit"))[1]);
  await eve.fill("#permit-text", mine.replace(/"wallet":"0x[0-9a-f]{40}"/i, `"wallet":"0x${"12".repeat(20)}"`));
  await eve.click("#permit-take");
  await refused("The permit is for the wallet");
  await eve.fill("#permit-text", mine.replace(/"min_cash":"\d+"/, '"min_cash":"1"'));
  await eve.click("#permit-take");
  await refused("not signed by an attester of this offering");
  await eve.fill("#permit-text", mine);
  await eve.click("#permit-take");

  // The wallet moves to another chain before it sends: it is asked to come back.
  await submit();
  eve.wallet.chainId = 1;
  await eve.click("#confirm-go");
  await reads(eve, "Done in block", "#confirm");
  await eve.click("#confirm-close");
  await submit();
  await reads(eve, "A bid only rises", "#confirm");
  await eve.click("#confirm-close");

  // The round closes while the form is open.
  await eve.fill("#bid-cash", "700");
  await submit();
  await eve.locator("#confirm").waitFor({ state: "visible" });
  await moveTo(here.rpc, "2026-09-16");
  await eve.click("#confirm-go");
  await reads(eve, "is closed", "#confirm-progress");
  await eve.click("#confirm-close");
  await reads(eve, "takes no more bids", "#bid");

  // What the server is sent is bounded and read with care.
  const post = (path, body) => fetch(here.url + path, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal((await post("/tx/clear", "x".repeat(20_000))).status, 413);
  assert.equal((await post("/tx/clear", "{}")).status, 400);
  assert.equal((await post("/tx/nothing", JSON.stringify({ wallet: eve.address }))).status, 404);
  assert.equal((await post("/tx/clear", JSON.stringify({ wallet: eve.address, round: "9" }))).status, 400);
  assert.equal((await post("/tx/settle", JSON.stringify({ wallet: eve.address, bid: "0/65535/1" }))).status, 200);
  assert.equal((await fetch(`${here.url}/document/99`)).status, 404);
  assert.equal((await fetch(`${here.url}/asset/..%2Fmod.rs`)).status, 404);
  const asset = await fetch(`${here.url}/asset/act.js`);
  const again = await fetch(`${here.url}/asset/act.js`, { headers: { "if-none-match": asset.headers.get("etag") } });
  assert.equal(again.status, 304);
  assert.deepEqual(eve.faults, []);
  console.log("trouble: all of it ends in words");
} finally {
  await browser.close();
  here.close();
}
