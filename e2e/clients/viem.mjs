// A backer with viem: reads the chain, approves, bids, hears of it over WebSocket, settles. See common.mjs.

import assert from "node:assert/strict";
import { createPublicClient, createWalletClient, defineChain, http, webSocket } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { setting, soon } from "./common.mjs";

const { url, socket, key, offering, cash, permit, signature, id, amount } = setting();
const account = privateKeyToAccount(key);
const reader = createPublicClient({ transport: http(url, { batch: true }), pollingInterval: 100 });
const chain = defineChain({
  id: await reader.getChainId(),
  name: "development",
  nativeCurrency: { name: "play ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [url] } },
});
const wallet = createWalletClient({ account, chain, transport: http(url) });
const listener = createPublicClient({ chain, transport: webSocket(socket) });

const [block, balance, code, held, fees] = await Promise.all([
  reader.getBlock({ includeTransactions: true }),
  reader.getBalance({ address: account.address }),
  reader.getCode({ address: offering.address }),
  reader.readContract({ ...cash, functionName: "balanceOf", args: [account.address] }),
  reader.estimateFeesPerGas(),
]);
assert(block.number > 0n && block.transactions.length >= 0 && balance > 0n && code.length > 1000 && held >= amount);
assert(fees.maxFeePerGas >= 0n);

const sent = async (request) => {
  const hash = await wallet.writeContract(request);
  const receipt = await reader.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, "success");
  assert.equal((await reader.getTransaction({ hash })).blockHash, receipt.blockHash);
  return receipt;
};
await sent({ ...cash, functionName: "approve", args: [offering.address, amount] });

// Refused by the contract: its error comes through by name.
await assert.rejects(
  reader.simulateContract({ ...offering, functionName: "settle", args: [id], account }),
  (error) => error.message.includes("NoBid") || error.message.includes("NotCleared"),
);

let unwatch;
const heard = new Promise((resolve, reject) => {
  unwatch = listener.watchContractEvent({ ...offering, eventName: "BidPlaced", onLogs: resolve, onError: reject });
});
const heads = new Promise((resolve, reject) => {
  listener.watchBlocks({ onBlock: resolve, onError: reject });
});
await listener.getBlockNumber(); // the socket is open, and the subscriptions are on their way
await new Promise((resolve) => setTimeout(resolve, 300));

const args = [amount, 0n, 0n, permit, signature];
const { request } = await reader.simulateContract({ ...offering, functionName: "bid", args, account });
const placed = await sent(request);
const [told] = await soon(heard, "the event");
assert.equal(told.args.id, id);
assert.equal(told.transactionHash, placed.transactionHash);
await soon(heads, "a block");
unwatch();

const logs = await reader.getContractEvents({
  ...offering, eventName: "BidPlaced", args: { id }, fromBlock: 0n, toBlock: "latest",
});
assert.equal(logs.length, 1);
assert.equal(logs[0].blockHash, placed.blockHash);
const slot = await reader.readContract({ ...offering, functionName: "getBid", args: [id] });
assert.equal((slot >> 160n) & ((1n << 60n) - 1n), amount);

// Two weeks later.
await reader.request({ method: "evm_increaseTime", params: [20 * 86_400] });
await reader.request({ method: "evm_mine", params: [] });
await sent({ ...offering, functionName: "clear", args: [permit.round, 400n] });
await sent({ ...offering, functionName: "settle", args: [id] });
const position = await reader.readContract({ ...offering, functionName: "getPosition", args: [id] });
assert.equal(position.paid, amount);
assert(position.credits > 0n);
console.log(JSON.stringify({ client: "viem", chain: chain.id, credits: position.credits.toString() }));
process.exit(0);
