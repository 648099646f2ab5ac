// Prices, providers and keys, with a mouse: a price list that changes; a key for cash and one for locked credits, each
// used by OpenAI's client; usage, receipts, limits; revoked, renewed, topped up, withdrawn with the gateway and without it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { createWalletClient, decodeFunctionResult, encodeFunctionData, hashTypedData, http, parseAbi, parseUnits } from "viem";
import { account, launch, looked, open, shot } from "./browser.mjs";
import { act, connect, eventually, permit, reads } from "./check.mjs";
import { call, moveTo, stage } from "./stage.mjs";

const here = await stage("spend");
const browser = await launch();
const record = await (await fetch(`${here.url}/deployment.json`)).json();
const { price_list: priceList, channels, cash } = record.contracts;
const lists = parseAbi([
  "struct Entry { string model; uint8 unit; uint128 credits; uint64 cash; }",
  "function publish(Entry[] entries, string tierModel) returns (uint32)",
]);
const views = parseAbi(["function getVoucherDigest(bytes32 id, uint128 most) view returns (bytes32)", "function balanceOf(address) view returns (uint256)"]);

const both = (model, unit, text) => ({ model, unit, credits: parseUnits(text, 18), cash: parseUnits(text, 6) });
/** What a contract takes for a name. */
const HOSTILE = `<b>'"&$(x)</b><script>`;

/** The issuer publishes a list: example-small as ever, example-large at this price for what it writes. */
async function publish(output, more = []) {
  const entries = [both("example-small", 0, "0.5"), both("example-small", 2, "2"), both("example-large", 0, "2"), both("example-large", 1, "0.5"), both("example-large", 2, output), ...more];
  const wallet = createWalletClient({ account: account("issuer"), chain: { id: 31337, name: "dev", nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [here.rpc] } } }, transport: http(here.rpc) });
  const hash = await wallet.sendTransaction({ to: priceList, data: encodeFunctionData({ abi: lists, functionName: "publish", args: [entries, "example-small"] }) });
  await eventually("it is in a block", () => call(here.rpc, "eth_getTransactionReceipt", [hash]));
}

const view = async (to, functionName, args) => decodeFunctionResult({ abi: views, functionName, data: await call(here.rpc, "eth_call", [{ to, data: encodeFunctionData({ abi: views, functionName, args }) }, "latest"]) });
const holds = (wallet) => view(cash, "balanceOf", [wallet]);

/** The page goes on by itself to that of the connected wallet. */
const own = (page, path) => Promise.all([page.waitForURL(/wallet=0x/), page.go(path).catch(() => {})]);

const confirmed = "the gateway has confirmed it";

/** What the page sends, to look for what it must not send. */
function watched(page) {
  page.sent = [];
  page.on("request", (request) => page.sent.push({ url: request.url(), body: request.postData() ?? "", key: request.headers().authorization }));
}

const unfold = (page, summary) => page.locator("details", { has: page.locator(`summary:text-is("${summary}")`) }).first().evaluate((details) => { details.open = true; });

try {
  // All that needs no script is there without one; only pages that ask the gateway may call it.
  await moveTo(here.rpc, "2026-09-02");
  const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
  const policies = {};
  for (const path of ["/prices", "/providers", "/keys", `/keys?wallet=${account("ben").address}`]) {
    const answer = await plain.goto(here.url + path);
    assert.equal(answer.status(), 200, path);
    policies[path] = answer.headers()["content-security-policy"];
    assert.ok((await plain.innerText("main")).length > 100, path);
  }
  const gateway = await plain.getAttribute("body", "data-gateway");
  assert.match(gateway, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.match(policies["/prices"], /connect-src 'self';/);
  for (const path of ["/keys", "/providers"]) assert.ok(policies[path].includes(`connect-src 'self' ${gateway};`), policies[path]);
  await plain.goto(`${here.url}/keys?wallet=%22%3E%3Cscript%3Ealert(1)%3C/script%3E`);
  assert.match(await plain.innerText("#mine"), /not an address/);
  await plain.context().close();

  // Prices: in force, to come, cancelled, before.
  const cara = await open(browser, here, "cara");
  await cara.go("/prices");
  await reads(cara, "version 1", "#prices");
  await reads(cara, "example-large a million model tokens written 8 QCR 8 USDC", "#prices");
  await reads(cara, "0.0015 QCR", "#prices");
  await reads(cara, "Holds Now, version 1: the issuer names example-small at 2 QCR", "#covenant");
  await reads(cara, "30 days of notice", "#promise");
  await looked(cara, "prices-first");
  await publish("9.5");
  await reads(cara, "Version 2", "#to-come");
  await reads(cara, "8 QCR → 9.5 QCR (rises)", "#to-come");
  await reads(cara, "From 2026-10-02", "#covenant");
  await looked(cara, "prices-rise-to-come");
  await publish("7");
  await reads(cara, "version 3", "#prices");
  await reads(cara, "None: the prices above stay", "#to-come");
  await unfold(cara, await cara.locator("#past summary").first().innerText());
  await reads(cara, "8 QCR → 7 QCR (falls)", "#past");
  await reads(cara, "higher", "#past");
  await reads(cara, "never in force, because a list that raised nothing took their place: version 2", "#past");
  await publish("9", [both(HOSTILE, 0, "1"), both(HOSTILE, 2, "1")]);
  await reads(cara, "Version 4", "#to-come");
  await reads(cara, `${HOSTILE} a million model tokens read 1 QCR (new)`, "#to-come");
  assert.equal(await cara.locator("main b, main script").count(), 0);
  const all = await (await fetch(`${here.url}/prices.json`)).json();
  assert.deepEqual([all.in_force, all.versions.map(({ version }) => version), all.cancelled], [3, [1, 3, 4], [2]]);

  // Providers before anything was settled.
  await cara.go("/providers");
  await reads(cara, "example-large, example-small", "#who");
  await reads(cara, "at most 80% goes to providers", "#statements");
  assert.equal((await fetch(`${here.url}/statement`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).status, 400);

  // Ann has locked credits: bid, cleared, settled, live, delivered.
  const ann = await open(browser, here, "ann");
  await ann.go("/round/0");
  await connect(ann);
  await ann.click("#faucet");
  await reads(ann, "came", "#status");
  await permit(ann, here, 0);
  await ann.fill("#bid-cash", "20000");
  await act(ann, 'form[data-action="bid"]');
  await moveTo(here.rpc, "2026-10-01");
  await ann.go("/round/0");
  await act(ann, 'form[data-action="clear"]');
  await own(ann, "/positions");
  await act(ann, 'form[data-action="settle"]');
  const certifier = await open(browser, here, "certifier");
  await certifier.go("/treasury");
  await connect(certifier);
  await certifier.fill("#evidence-0", `0x${"11".repeat(32)}`);
  await act(certifier, 'form[data-action="attest"]');
  await moveTo(here.rpc, "2026-12-01");
  await own(ann, "/positions");
  await act(ann, 'form[data-action="deliver"]', ["to the position’s vault"]);
  await cara.go("/prices");
  await reads(cara, "version 4", "#prices");
  await looked(cara, "prices-fourth");

  // Ben makes a key for cash. What can be refused is refused in words first.
  const ben = await open(browser, here, "ben");
  watched(ben);
  await ben.go("/keys");
  await reads(ben, "No wallet is chosen", "#mine");
  await looked(ben, "keys-empty");
  await ben.click("#connect");
  await Promise.all([ben.waitForURL(/wallet=0x/), ben.locator("#wallets button").first().click()]);
  await reads(ben, "nothing to make a key from", "#mine");
  await ben.click("#faucet");
  await reads(ben, "came", "#status");
  const form = 'form[data-action="key-create"]';
  await ben.locator(form).waitFor({ state: "visible" });
  const refused = async (amount, ceiling, text) => {
    await ben.fill("#key-amount", amount);
    await ben.fill("#key-ceiling", ceiling);
    await ben.locator(form).locator("button[type=submit]").click();
    await reads(ben, text, `${form} .problem`);
  };
  await refused("1,000", "", "not a plain decimal");
  await refused("0", "", "The amount is zero");
  await refused("10", "11", "The ceiling is not between");
  await ben.locator(`${form} details`).evaluate((details) => { details.open = true; });
  await ben.fill("#key-models", "gpt-9");
  await refused("10", "1", "The price list has no model “gpt-9”");
  await ben.fill("#key-models", "");
  await ben.fill("#key-amount", "10");
  await ben.fill("#key-ceiling", "");
  await reads(ben, "The gateway may claim at most 1 USDC for now", "#key-preview");
  await ben.fill("#key-amount", "99999999");
  await ben.fill("#key-ceiling", "1");
  await ben.locator(form).locator("button[type=submit]").click();
  await reads(ben, "It would be refused. The wallet has 100,000 USDC", "#confirm");
  await ben.click("#confirm-close");
  await ben.fill("#key-amount", "10");
  await ben.fill("#key-ceiling", "2");
  await ben.fill("#key-name", "<b>laptop</b>");
  // Declined at the first signature: nothing has happened.
  ben.wallet.declines.add("eth_signTypedData_v4");
  await ben.locator(form).locator("button[type=submit]").click();
  await reads(ben, "Moves 10 USDC from your wallet", "#confirm");
  await reads(ben, "at most 2 USDC", "#confirm");
  await reads(ben, "pays for 1,000,000 model tokens written by example-small", "#confirm");
  await looked(ben, "keys-dialog");
  await ben.click("#confirm-go");
  await reads(ben, "You declined in your wallet", "#confirm");
  ben.wallet.declines.clear();
  await ben.click("#confirm-close");
  const before = await holds(ben.address);
  ben.wallet.typed = [];
  // The gateway cannot be reached when the deposit stands: a second try goes on from there and signs nothing twice.
  await ben.route(`${gateway}/earnest/orders`, (route) => route.abort());
  await ben.locator(form).locator("button[type=submit]").click();
  await reads(ben, "Moves 10 USDC", "#confirm");
  await ben.click("#confirm-go");
  await reads(ben, "The gateway cannot be reached from this browser", "#confirm");
  await reads(ben, "The deposit stands in your channel", "#confirm");
  await ben.unroute(`${gateway}/earnest/orders`);
  ben.wallet.typed.pop();
  await ben.click("#confirm-go");
  await reads(ben, confirmed, "#confirm");
  await ben.click("#confirm-close");
  assert.equal(before - (await holds(ben.address)), 10_000_000n);
  await ben.locator("#new-key").waitFor({ state: "visible" });
  // The dialog tells that it was closed in a task of its own: the focus comes a moment after the click.
  await ben.waitForFunction(() => document.activeElement.id === "new-key");
  const secret = await ben.innerText("#new-secret");
  assert.match(secret, /^sk-earnest-[\w-]{43}$/);
  assert.deepEqual(ben.wallet.typed.map(({ primaryType }) => primaryType), ["ReceiveWithAuthorization", "Voucher", "Order"]);
  // What the wallet signed for the ceiling is what the contract will check.
  const voucher = ben.wallet.typed[1];
  assert.equal(hashTypedData(voucher.viem), await view(channels, "getVoucherDigest", [voucher.message.channelId, BigInt(voucher.message.maxClaimableAmount)]));
  await shot(ben, "keys-made");

  // The lines that are shown work as they are pasted.
  assert.match(execFileSync("sh", ["-c", await ben.innerText("#new-curl")], { stdio: ["ignore", "pipe", "ignore"] }).toString(), /echo: hello/);
  if (process.env.EARNEST_PYTHON) assert.match(execFileSync(process.env.EARNEST_PYTHON, ["-c", await ben.innerText("#new-python")]).toString(), /echo: hello/);
  const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: secret, maxRetries: 0 });
  for (const model of ["example-small", "example-large"]) {
    const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content: "one two three" }] });
    assert.equal(answer.choices[0].message.content, "echo: one two three");
  }

  // Usage and receipts of the key.
  await ben.click("#new-key-look");
  await reads(ben, "Left to use now", "#key-view");
  await reads(ben, "Deposited 10 USDC", "#key-view");
  await reads(ben, "By model", "#key-view");
  assert.equal(await ben.locator("#key-view b").count(), 0, "a name is text");
  await reads(ben, "Key <b>laptop</b>", "#key-view");
  assert.equal(await ben.locator("#key-view .receipt").count(), process.env.EARNEST_PYTHON ? 4 : 3);
  await ben.locator("#key-view .receipt summary").first().click();
  await reads(ben, "Yes: It charges", "#key-view .receipt");
  await reads(ben, "Yes: Its prices are those of version 4 of the price list on the chain", "#key-view .receipt");
  await looked(ben, "keys-usage");
  const [download] = await Promise.all([ben.waitForEvent("download"), ben.locator("#key-view .receipt a[download]").first().click()]);
  const folder = mkdtempSync(join(tmpdir(), "earnest-receipt-"));
  await download.saveAs(join(folder, "receipt.json"));
  writeFileSync(join(folder, "deployment.json"), JSON.stringify(record));
  const verify = (file) => execFileSync(process.env.EARNEST_BIN ?? fileURLToPath(new URL("../../target/release/earnest", import.meta.url)), ["receipt", "verify", file, "--state", "."], { stdio: "pipe", cwd: folder }).toString();
  assert.match(verify(join(folder, "receipt.json")), /^good: request/);
  const changed = JSON.parse(readFileSync(join(folder, "receipt.json"), "utf8"));
  changed.receipt = changed.receipt.replace(/"charge":"\d+"/, '"charge":"1"');
  writeFileSync(join(folder, "changed.json"), JSON.stringify(changed));
  assert.throws(() => verify(join(folder, "changed.json")));

  // The secret has gone to the gateway alone, in a header; and into no address.
  const leaks = ben.sent.filter(({ url, body, key }) => url.includes(secret) || body.includes(secret) || (key?.includes(secret) && !url.startsWith(gateway)));
  assert.deepEqual(leaks, []);
  assert.ok(ben.sent.some(({ key }) => key === `Bearer ${secret}`));
  assert.ok(!JSON.stringify(await ben.evaluate(() => ({ ...localStorage }))).includes(secret));

  // The channel: how it stands, more signed for, more deposited, another key with limits.
  await reads(ben, "Cash channel 1", "#mine");
  const channel = "#mine section.position";
  await act(ben, `${channel} form[data-action="key-look"]`, ["Of cash channel 1"], confirmed);
  await reads(ben, "Signed for 2 USDC", `${channel} .gateway-state`);
  await unfold(ben, "Sign for more, deposit more, more keys");
  await ben.fill(`${channel} form[data-action="key-renew"] input[name=ceiling]`, "4");
  await act(ben, `${channel} form[data-action="key-renew"]`, ["at most 4 USDC"], confirmed);
  await reads(ben, "Signed for 4 USDC", `${channel} .gateway-state`);
  await ben.fill(`${channel} form[data-action="key-top-up"] input[name=amount]`, "5");
  await act(ben, `${channel} form[data-action="key-top-up"]`, ["Moves 5 USDC more"], "Done in block");
  await reads(ben, "Deposited, less what went back 15 USDC", channel);
  await ben.fill(`${channel} form[data-action="key-another"] input[name=name]`, "small");
  await ben.locator(`${channel} form[data-action="key-another"] details`).evaluate((details) => { details.open = true; });
  await ben.fill(`${channel} form[data-action="key-another"] input[name=total]`, "0.000001");
  await ben.fill(`${channel} form[data-action="key-another"] input[name=models]`, "example-small");
  await act(ben, `${channel} form[data-action="key-another"]`, ["at most 0.000001 USDC in all", "good for example-small only"], confirmed);
  const small = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: await ben.innerText("#new-secret"), maxRetries: 0 });
  await assert.rejects(small.chat.completions.create({ model: "example-large", messages: [{ role: "user", content: "hi" }] }), { status: 403 });
  await assert.rejects(small.chat.completions.create({ model: "example-small", messages: [{ role: "user", content: "hi ".repeat(99) }] }), { status: 429 });
  await unfold(ben, "Revoke a key, withdraw");
  await looked(ben, "keys-channel");

  // Revoked: 401 from then on. The other key goes on.
  await act(ben, `${channel} form[data-action="key-look"]`, [], confirmed);
  await ben.locator(`${channel} .gateway-state tr`, { hasText: "laptop" }).locator("button").click();
  await reads(ben, "answers 401 to this key", "#confirm");
  await ben.click("#confirm-go");
  await reads(ben, confirmed, "#confirm");
  await ben.click("#confirm-close");
  await assert.rejects(client.chat.completions.create({ model: "example-small", messages: [{ role: "user", content: "hi" }] }), { status: 401 });
  await ben.fill("#api-key", secret);
  await ben.click("#key-form button[type=submit]");
  await reads(ben, "does not know this key, or it was revoked", "#key-view");

  // Withdrawn by the gateway: what was not used is back at once.
  await act(ben, `${channel} form[data-action="key-withdraw"]`, ["It is final"], confirmed);
  await reads(ben, "Ended: nothing is left in it", channel);
  const spent = before - (await holds(ben.address));
  assert.ok(spent > 0n && spent < 1000n, `${spent}`);

  // Without the gateway: begun, waited for, ended. The next channel has the next number.
  await ben.fill("#key-amount", "3");
  await ben.fill("#key-ceiling", "");
  await act(ben, form, ["Moves 3 USDC", "at most 0.3 USDC"], confirmed);
  const second = `${channel}:has(h4:text-is("Cash channel 2"))`;
  await ben.locator(`${second} details`, { hasText: "Withdraw by the gateway" }).evaluate((details) => { details.open = true; });
  await act(ben, `${second} form[data-action="key-leave"]`, ["Asks the chain for 3 USDC", "2026-12-02"], "Done in block");
  await reads(ben, "it can be had 2026-12-02", second);
  assert.equal(await ben.locator(`${second} form[data-action="key-end"]`).count(), 0);
  await looked(ben, "keys-leaving");
  await moveTo(here.rpc, "2026-12-03");
  await act(ben, `${second} form[data-action="key-end"]`, ["Pays 3 USDC"], "Done in block");
  await reads(ben, "Ended: nothing is left in it", second);
  assert.equal(before - (await holds(ben.address)), spent);

  // Ann's locked credits buy service; what comes back goes to the vault.
  await own(ann, "/keys");
  await reads(ann, "Locked credits of position", form);
  await ann.locator(`${form} label`, { hasText: "Locked credits" }).click();
  await ann.fill("#key-amount", "50");
  await looked(ann, "keys-locked");
  await act(ann, form, ["from the vault of position", "at most 5 QCR"], confirmed);
  const locked = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: await ann.innerText("#new-secret"), maxRetries: 0 });
  const stream = await locked.chat.completions.create({ model: "example-large", stream: true, messages: [{ role: "user", content: "locked and spent" }] });
  let text = "";
  for await (const piece of stream) text += piece.choices[0]?.delta?.content ?? "";
  assert.equal(text, "echo: locked and spent");

  await act(ann, `${channel} form[data-action="key-look"]`, ["locked position"], confirmed);
  await unfold(ann, "Revoke a key, withdraw");
  await act(ann, `${channel} form[data-action="key-withdraw"]`, ["It is final"], confirmed);
  await reads(ann, "Ended: nothing is left in it", channel);
  assert.match(await ann.innerText(`${form} .choices`), /^Pay from\s+Cash \([^)]*\)\s+Locked credits of position [^(]*\([^)]*\)\s*$/, "none of it is free");

  // Providers: the statement of both coins, held against the chain.
  await cara.go("/providers");
  await eventually("both coins have a statement", async () => {
    await cara.reload();
    await cara.waitForTimeout(500);
    return (await cara.locator(".document .checks").count()) === 2;
  }, 60_000);
  for (const coin of ["credits", "cash"]) {
    await reads(cara, "Held against the chain", `.document[data-coin=${coin}]`);
    await reads(cara, "Yes: The tree over its providers", `.document[data-coin=${coin}]`);
  }
  await looked(cara, "providers");
  // A document that was changed is found out.
  const number = await cara.getAttribute(".document[data-coin=credits]", "data-number");
  const told = await (await fetch(`${gateway}/earnest/statements/credits/${number}`)).json();
  told.providers[0].cumulative = String(BigInt(told.providers[0].cumulative) + 1n);
  const { checks } = await (await fetch(`${here.url}/statement`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(told) })).json();
  assert.deepEqual(checks.map(({ ok }) => ok), [true, true, false, false]);

  // The order that was kept from the gateway above is the one fault that a browser tells of.
  ben.faults = ben.faults.filter((fault) => !/net::ERR_FAILED/.test(fault));
  for (const page of [ann, ben, cara, certifier]) assert.deepEqual(page.faults, []);
  console.log("spend: prices, providers and keys hold");
} finally {
  await browser.close();
  here.close();
}
