// A backer with ethers: reads the chain, approves, bids, hears of it over WebSocket, settles. See common.mjs.

import assert from "node:assert/strict";
import { Contract, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider } from "ethers";
import { setting, soon } from "./common.mjs";

const { url, socket, key, offering, cash, permit, signature, id, amount } = setting();
const provider = new JsonRpcProvider(url, undefined, { polling: true, pollingInterval: 100 });
const wallet = new NonceManager(new Wallet(key, provider));
const listener = new WebSocketProvider(socket);
const from = await wallet.getAddress();

const network = await provider.getNetwork();
const block = await provider.getBlock("latest", true);
assert(block.number > 0 && (await provider.getBalance(from)) > 0n);
assert((await provider.getCode(offering.address)).length > 1000);
await provider.getFeeData();

const coin = new Contract(cash.address, cash.abi, wallet);
const sale = new Contract(offering.address, offering.abi, wallet);
assert((await coin.balanceOf(from)) >= amount);
const mined = async (pending) => {
  const receipt = await (await pending).wait();
  assert.equal(receipt.status, 1);
  return receipt;
};
await mined(coin.approve(offering.address, amount));

await assert.rejects(sale.settle.staticCall(id), (error) => ["NoBid", "NotCleared"].includes(error.revert?.name));

const heard = new Promise((resolve) => {
  new Contract(offering.address, offering.abi, listener).once("BidPlaced", (...args) => resolve(args));
});
const head = new Promise((resolve) => listener.once("block", resolve));
await listener.getBlockNumber();
await new Promise((resolve) => setTimeout(resolve, 300));

const placed = await mined(sale.bid(amount, 0n, 0n, permit, signature));
const [toldId, , , told] = await soon(heard, "the event");
assert.equal(toldId, id);
assert.equal(told.log.transactionHash, placed.hash);
await soon(head, "a block");

const logs = await sale.queryFilter(sale.filters.BidPlaced(id), 0, "latest");
assert.equal(logs.length, 1);
assert.equal(logs[0].blockHash, placed.blockHash);

await provider.send("evm_increaseTime", [20 * 86_400]);
await provider.send("evm_mine", []);
await mined(sale.clear(permit.round, 400n));
await mined(sale.settle(id));
const position = await sale.getPosition(id);
assert.equal(position.paid, amount);
assert(position.credits > 0n);
console.log(JSON.stringify({ client: "ethers", chain: Number(network.chainId), credits: position.credits.toString() }));
process.exit(0);
