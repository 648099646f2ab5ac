// x402's own client, server and facilitator (@x402/fetch, @x402/core, @x402/evm), unchanged, on our contracts at the
// scheme's addresses: what they sign is what the contract verifies, what they read is what it keeps. See common.mjs.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { x402Facilitator } from "@x402/core/facilitator";
import { x402HTTPResourceServer, x402ResourceServer } from "@x402/core/server";
import {
  BATCH_SETTLEMENT_ADDRESS, BATCH_SETTLEMENT_DOMAIN, ERC3009_DEPOSIT_COLLECTOR_ADDRESS, claimBatchTypes, refundTypes,
  toClientEvmSigner, toFacilitatorEvmSigner, voucherTypes,
} from "@x402/evm";
import {
  BatchSettlementEvmScheme as Client, computeChannelId, createBatchSettlementEIP3009DepositPayload, recoverChannel,
  signVoucher,
} from "@x402/evm/batch-settlement/client";
import { BatchSettlementEvmScheme as Facilitator } from "@x402/evm/batch-settlement/facilitator";
import { BatchSettlementEvmScheme as Server } from "@x402/evm/batch-settlement/server";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import {
  createPublicClient, createWalletClient, defineChain, getAddress, hashTypedData, http, keccak256, parseEventLogs, publicActions,
  toEventSelector, toEventSignature, toFunctionSelector, toFunctionSignature, toHex,
} from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { setting } from "./common.mjs";

const { url, key, cash: { address: lowercase, abi } } = setting();
const cash = { address: getAddress(lowercase), abi };
const ours = JSON.parse(readFileSync(new URL("../../contracts/artifacts/Channels.json", import.meta.url), "utf8")).abi;
const reader = createPublicClient({ transport: http(url), pollingInterval: 50 });
const chain = defineChain({
  id: await reader.getChainId(),
  name: "development",
  nativeCurrency: { name: "play ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [url] } },
});
const network = `eip155:${chain.id}`;
const sender = privateKeyToAccount(key);
const wallet = createWalletClient({ account: sender, chain, transport: http(url), pollingInterval: 50 })
  .extend(publicActions);
const person = () => privateKeyToAccount(generatePrivateKey());
const read = (functionName, ...args) =>
  reader.readContract({ address: BATCH_SETTLEMENT_ADDRESS, abi: ours, functionName, args });
const done = async (hash) => {
  const receipt = await reader.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, "success");
  return parseEventLogs({ abi: ours, logs: receipt.logs, strict: true })
    .filter((log) => log.address.toLowerCase() === BATCH_SETTLEMENT_ADDRESS.toLowerCase());
};
const balance = (address) => reader.readContract({ ...cash, functionName: "balanceOf", args: [address] });
const others = await balance(BATCH_SETTLEMENT_ADDRESS);

// ---- who takes part

// What x402 asks of the chain goes through here, so that the interface it believes in can be held against ours.
let theirs;
const facilitator = toFacilitatorEvmSigner({
  ...wallet,
  address: sender.address,
  readContract: (call) => {
    if (call.address === BATCH_SETTLEMENT_ADDRESS) theirs = call.abi;
    return wallet.readContract(call);
  },
}, { confirmationTimeoutMs: 20_000 });
const [receiver, authorizer] = [person(), person()];
const { name, version } = await reader.readContract({
  address: cash.address,
  abi: cash.abi,
  functionName: "eip712Domain",
}).then(([, name, version]) => ({ name, version }));

// Signatures are good until so long after this machine's time, and the chain's may be far ahead of it.
const { timestamp } = await reader.getBlock();
const maxTimeoutSeconds = Math.max(0, Number(timestamp) - Math.floor(Date.now() / 1000)) + 86_400;
const PRICE = 1_000n;
const withdrawDelay = 900;

const scheme = new Server(receiver.address, { receiverAuthorizerSigner: authorizer, withdrawDelay });
const settling = new x402Facilitator().register(network, new Facilitator(facilitator));
const resources = new x402ResourceServer({
  verify: (...payment) => settling.verify(...payment),
  settle: (...payment) => settling.settle(...payment),
  getSupported: async () => settling.getSupported(),
}).register(network, scheme);
const paid = new x402HTTPResourceServer(resources, {
  "GET /paid": {
    accepts: {
      scheme: "batch-settlement",
      network,
      payTo: receiver.address,
      price: { asset: cash.address, amount: PRICE.toString(), extra: { name, version } },
      maxTimeoutSeconds,
    },
  },
});
await paid.initialize();
const site = createServer(async (request, response) => {
  const path = new URL(request.url, "http://site").pathname;
  const adapter = {
    getHeader: (name) => request.headers[name.toLowerCase()],
    getMethod: () => request.method,
    getPath: () => path,
    getUrl: () => `${home}${request.url}`,
    getAcceptHeader: () => request.headers.accept ?? "",
    getUserAgent: () => request.headers["user-agent"] ?? "",
  };
  const context = { adapter, path, method: request.method };
  const answer = ({ status, headers, body }) =>
    response.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body ?? {}));
  const result = await paid.processHTTPRequest(context);
  if (result.type !== "payment-verified") return answer(result.response);
  const settled = await paid.processSettlement(
    result.paymentPayload, result.paymentRequirements, result.declaredExtensions, { request: context },
  );
  if (!settled.success) return answer(settled.response);
  answer({ status: 200, headers: settled.headers, body: "what was paid for" });
});
await new Promise((listens) => site.listen(0, "127.0.0.1", listens));
const home = `http://127.0.0.1:${site.address().port}`;

// A buyer with play money. Its deposits are ten times the price, as the server suggests.
const buyer = async (account, options = {}) => {
  if (account !== sender) {
    const transfer = { ...cash, functionName: "transfer", args: [account.address, 1_000_000n] };
    await reader.waitForTransactionReceipt({ hash: await wallet.writeContract(transfer) });
  }
  const client = new Client(toClientEvmSigner(account, reader), { salt: keccak256(account.address), ...options });
  const payments = new x402Client().register(network, client).setSpendControls({
    allowedAssets: [{ network, asset: cash.address }],
  });
  const fetch = wrapFetchWithPayment(globalThis.fetch, payments);
  const buy = async () => {
    const response = await fetch(`${home}/paid`);
    const said = await response.text();
    assert.equal(response.status, 200, `${response.headers.get("payment-required")} ${said}`);
    assert.equal(said, "what was paid for");
    return decodePaymentResponseHeader(response.headers.get("PAYMENT-RESPONSE"));
  };
  return { account, client, buy };
};

// ---- a deposit, vouchers, a second deposit

const session = person();
const [alice, bob, carol] = [
  await buyer(sender), await buyer(person(), { voucherSigner: session }), await buyer(person()),
];
const requirements = (await resources.buildPaymentRequirements({
  scheme: "batch-settlement", network, payTo: receiver.address, maxTimeoutSeconds,
  price: { asset: cash.address, amount: PRICE.toString(), extra: { name, version } },
}))[0];
const everyone = [alice, bob, carol];
for (const one of everyone) {
  one.config = one.client.buildChannelConfig(requirements);
  one.id = computeChannelId(one.config, network);
  assert.equal(await read("getChannelId", one.config), one.id, "one channel has one id");
  const first = await one.buy();
  const logs = await done(first.transaction);
  assert.deepEqual(logs.map((log) => log.eventName), ["ChannelCreated", "Deposited"]);
  assert.equal(logs[0].args.channelId, one.id);
  assert.deepEqual(logs[0].args.config, one.config);
  assert.equal(logs[1].args.newBalance, 10n * PRICE);
  assert.deepEqual(await read("channels", one.id), [10n * PRICE, 0n]);
}
assert.equal(bob.config.payerAuthorizer, session.address);
// Ten are paid for; the eleventh needs more, and it comes with its own deposit.
for (let bought = 1; bought < 10; bought += 1) {
  assert.equal((await alice.buy()).transaction, "", "a voucher needs no transaction");
}
assert.deepEqual((await done((await alice.buy()).transaction)).map((log) => log.eventName), ["Deposited"]);
assert.deepEqual(await read("channels", alice.id), [20n * PRICE, 0n]);
await bob.buy();

// ---- one interface

const shape = (abi, type, text) => abi.filter((item) => item.type === type).map(text).sort();
assert.deepEqual(
  shape(theirs, "function", (item) => `${toFunctionSelector(item)} ${toFunctionSignature(item)} ${results(item)}`),
  shape(ours, "function", (item) => `${toFunctionSelector(item)} ${toFunctionSignature(item)} ${results(item)}`),
);
function results(item) {
  const words = (parameters) => parameters.map((one) => `${one.type} ${one.name}`).join();
  return `${item.stateMutability} (${words(item.inputs)}) (${words(item.outputs)})`;
}
// The package has one event, with which it reads what was settled; the specification names the others.
for (const event of theirs.filter((item) => item.type === "event")) {
  const same = ours.find((item) => item.type === "event" && toEventSelector(item) === toEventSelector(event));
  const indexed = (item) => item.inputs.map((input) => [input.name, input.type, input.indexed]);
  assert.deepEqual(indexed(same), indexed(event), toEventSignature(event));
}
assert.equal(theirs.filter((item) => item.type === "error").length, 0, "it knows no errors that ours would have to be");
const typehash = "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer," +
  "address token,uint40 withdrawDelay,bytes32 salt)";
assert.equal(await read("CHANNEL_CONFIG_TYPEHASH"), keccak256(toHex(typehash)));

// ---- one signature

const domain = { ...BATCH_SETTLEMENT_DOMAIN, chainId: chain.id, verifyingContract: BATCH_SETTLEMENT_ADDRESS };
const most = 2n ** 128n - 1n;
for (let round = 0; round < 20; round += 1) {
  const bytes = (length) => toHex(crypto.getRandomValues(new Uint8Array(length)));
  const config = {
    payer: person().address, payerAuthorizer: person().address, receiver: person().address,
    receiverAuthorizer: person().address, token: person().address,
    withdrawDelay: Number(BigInt(bytes(5))), salt: bytes(32),
  };
  const channelId = computeChannelId(config, network);
  assert.equal(await read("getChannelId", config), channelId);
  const [maxClaimableAmount, totalClaimed, nonce] = [BigInt(bytes(16)), BigInt(bytes(16)), BigInt(bytes(32))];
  const hash = (types, primaryType, message) => hashTypedData({ domain, types, primaryType, message });
  assert.equal(
    await read("getVoucherDigest", channelId, maxClaimableAmount),
    hash(voucherTypes, "Voucher", { channelId, maxClaimableAmount }),
  );
  assert.equal(
    await read("getRefundDigest", channelId, nonce, most),
    hash(refundTypes, "Refund", { channelId, nonce, amount: most }),
  );
  const rows = Array.from({ length: round % 4 }, () => (
    { voucher: { channel: config, maxClaimableAmount }, signature: bytes(65), totalClaimed }
  ));
  assert.equal(
    await read("getClaimBatchDigest", rows),
    hash(claimBatchTypes, "ClaimBatch", { claims: rows.map(() => ({ channelId, maxClaimableAmount, totalClaimed })) }),
  );
}

// ---- claimed in a batch by signature, and settled

const manager = scheme.createChannelManager(
  { settle: (...payment) => settling.settle(...payment) }, network, cash.address,
);
const [batch] = await manager.claim();
assert.equal(batch.vouchers, 3);
const claimed = (await done(batch.transaction)).map((log) => [log.eventName, log.args.channelId, log.args.newTotalClaimed]);
assert.deepEqual(
  claimed.sort(),
  [[alice, 11n], [bob, 2n], [carol, 1n]].map(([one, bought]) => ["Claimed", one.id, bought * PRICE]).sort(),
);
assert.deepEqual(await manager.claim(), [], "nothing is claimed twice");
assert.deepEqual(await read("receivers", receiver.address, cash.address), [14n * PRICE, 0n]);
const [moved] = await done((await manager.settle()).transaction);
assert.equal(moved.args.amount, 14n * PRICE);
assert.equal(await balance(receiver.address), 14n * PRICE);
assert.deepEqual(await read("receivers", receiver.address, cash.address), [14n * PRICE, 14n * PRICE]);
await assert.rejects(manager.settle(), /nothing_to_settle/);

// A batch that overlaps with what was claimed claims the rest, and a row above its voucher nothing.
await Promise.all([bob.buy(), carol.buy()]);
const rows = await manager.getClaimableVouchers();
assert.equal(rows.length, 2);
const stale = { ...rows[0], totalClaimed: "1" };
const payment = (payload) => [{ x402Version: 2, accepted: requirements, payload }, requirements];
const signed = async (claims, by = authorizer) => settling.settle(...payment({
  type: "claim",
  claims,
  claimAuthorizerSignature: await by.signTypedData({
    domain, types: claimBatchTypes, primaryType: "ClaimBatch",
    message: {
      claims: claims.map((row) => ({
        channelId: computeChannelId(row.voucher.channel, network),
        maxClaimableAmount: BigInt(row.voucher.maxClaimableAmount),
        totalClaimed: BigInt(row.totalClaimed),
      })),
    },
  }),
}));
const tooMuch = { ...rows[0], totalClaimed: (BigInt(rows[0].voucher.maxClaimableAmount) + 1n).toString() };
const forged = { ...rows[0], signature: rows[1].signature };
for (const [what, answer] of [
  ["above the voucher", await signed([tooMuch])],
  ["another's voucher", await signed([forged])],
  ["another's signature over the batch", await signed(rows, receiver)],
]) {
  assert.equal(answer.success, false, what);
  assert.match(answer.errorReason, /claim_simulation_failed/, what);
}
assert.equal((await signed([stale, ...rows])).success, true);
assert.deepEqual((await read("receivers", receiver.address, cash.address))[0], 16n * PRICE);

// ---- claimed by calling, as its receiver does

// On a real node whoever sends needs ether: the receiver is the sender here.
const direct = { ...requirements, payTo: sender.address, extra: { ...requirements.extra, receiverAuthorizer: sender.address } };
const config = carol.client.buildChannelConfig(direct);
const id = computeChannelId(config, network);
const deposit = await createBatchSettlementEIP3009DepositPayload(
  carol.account, 2, direct, config, "5000", "1000",
);
const envelope = { ...deposit, accepted: direct };
assert.equal((await settling.verify(envelope, direct)).isValid, true);
assert.equal((await settling.settle(envelope, direct)).success, true);
assert.match((await settling.settle(envelope, direct)).errorReason, /deposit_simulation_failed/, "a deposit is made once");
const voucher = await signVoucher(carol.account, id, "3000", network);
const contract = { address: BATCH_SETTLEMENT_ADDRESS, abi: theirs };
const send = async (functionName, ...args) => done(await wallet.writeContract({ ...contract, functionName, args }));
const claim = (totalClaimed) => (
  { voucher: { channel: config, maxClaimableAmount: 3_000n }, signature: voucher.signature, totalClaimed }
);
await send("claim", [claim(1_000n), claim(2_500n)]);
assert.deepEqual(await read("channels", id), [5_000n, 2_500n]);
await send("settle", sender.address, cash.address);
await send("refund", config, 500n);
assert.deepEqual(await read("channels", id), [4_500n, 2_500n]);
assert.equal(await read("refundNonce", id), 1n);

// ---- refunds by signature: a part, then the rest

const before = await balance(bob.account.address);
const part = await bob.client.refund(`${home}/paid`, { amount: "2000" });
assert.equal(part.success, true, part.errorReason);
assert.equal((await balance(bob.account.address)) - before, 2_000n);
assert.deepEqual(await read("channels", bob.id), [8n * PRICE, 3n * PRICE]);
await bob.buy();
const rest = await bob.client.refund(`${home}/paid`);
assert.equal(rest.success, true, rest.errorReason);
const [claimedFirst, refunded] = await done(rest.transaction);
assert.deepEqual([claimedFirst.eventName, refunded.eventName], ["Claimed", "Refunded"], "one multicall");
assert.equal((await balance(bob.account.address)) - before, 6n * PRICE);
assert.deepEqual(await read("channels", bob.id), [4n * PRICE, 4n * PRICE]);
assert.equal(await read("refundNonce", bob.id), 2n);
// The channel lives on: its client finds on the chain where it stands, and tops it up.
await bob.buy();
assert.deepEqual((await read("channels", bob.id))[1], 4n * PRICE);

// ---- a client that has forgotten everything, and a server that has

const amnesiac = await buyer(sender);
await amnesiac.buy(); // by a corrective answer with its own last voucher
assert.equal(
  (await recoverChannel({ ...amnesiac.client.deps() }, requirements)).balance,
  (20n * PRICE).toString(),
);

// ---- a withdrawal without the receiver

await assert.rejects(send("initiateWithdraw", alice.config, 9n * PRICE + 1n), /asked: 9001, unclaimed: 9000|revert/);
await send("initiateWithdraw", alice.config, 9n * PRICE);
const [asked, since] = await read("pendingWithdrawals", alice.id);
assert.equal(asked, 9n * PRICE);
assert.equal(Number((await reader.getBlock()).timestamp) >= since, true);
await assert.rejects(send("finalizeWithdraw", alice.config));
// The voucher for the twelfth can still be claimed, and Bob's last. Carol's row, of which the manager does not know that
// it was claimed above, does nothing.
const [last] = await manager.claim();
assert.equal(last.vouchers, 3);
assert.equal((await done(last.transaction)).length, 2);
await reader.request({ method: "evm_increaseTime", params: [withdrawDelay + 1] });
await reader.request({ method: "evm_mine", params: [] });
const had = await balance(sender.address);
const [withdrawn] = await send("finalizeWithdraw", alice.config);
assert.equal(withdrawn.eventName, "WithdrawFinalized");
assert.equal(withdrawn.args.amount, 8n * PRICE);
assert.equal((await balance(sender.address)) - had, 8n * PRICE);
assert.deepEqual(await read("channels", alice.id), [12n * PRICE, 12n * PRICE]);
assert.deepEqual(await read("pendingWithdrawals", alice.id), [0n, 0]);

// ---- to the last unit

await manager.settle();
const left = (await Promise.all([...everyone.map((one) => one.id), id].map((id) => read("channels", id))))
  .reduce((sum, [balance, claimed]) => sum + balance - claimed, 0n);
assert.equal((await balance(BATCH_SETTLEMENT_ADDRESS)) - others, left, "what nobody claimed, and nothing else");
assert.equal(await balance(ERC3009_DEPOSIT_COLLECTOR_ADDRESS), 0n);
console.log(JSON.stringify({ client: "x402", chain: chain.id, left: left.toString() }));
process.exit(0);
