// What the client scripts share: the deployment they are about, and the permit they bid with.
//
//   node viem.mjs URL FOLDER PERMIT KEY
//
// URL of a node, the folder that `earnest deploy` or `earnest up` made, a file of `earnest permit sign` for a wallet with
// play money, and a file with that wallet's key.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const parse = (file) => JSON.parse(readFileSync(file, "utf8"));
const abi = (name) =>
  JSON.parse(readFileSync(new URL(`../../contracts/artifacts/${name}.json`, import.meta.url), "utf8")).abi;

export function setting() {
  const [url, folder, permitFile, keyFile] = process.argv.slice(2);
  assert(keyFile, "usage: URL FOLDER PERMIT KEY");
  const { contracts } = parse(`${folder}/deployment.json`);
  const p = parse(permitFile);
  const permit = {
    entity: BigInt(p.entity), wallet: p.wallet, round: BigInt(p.round), minCash: BigInt(p.min_cash),
    maxCash: BigInt(p.max_cash), maxTotal: BigInt(p.max_total), first: BigInt(p.first), last: BigInt(p.last),
    notBefore: BigInt(p.not_before), expiry: BigInt(p.expiry), jurisdiction: BigInt(p.jurisdiction),
    lockClass: BigInt(p.lock_class), affiliate: p.affiliate, coolingOff: p.cooling_off,
    generation: BigInt(p.generation), termsHash: p.terms_hash,
  };
  return {
    url,
    socket: url.replace(/^http/, "ws"),
    key: readFileSync(keyFile, "utf8").trim(),
    offering: { address: contracts.offering, abi: abi("Offering") },
    cash: { address: contracts.cash, abi: abi("DevCash") },
    permit,
    signature: p.signature,
    // round 8 bits, window 16, entity 64
    id: (permit.round << 80n) | permit.entity,
    amount: 1_000_000_000n,
  };
}

// Fails rather than waiting for ever.
export function soon(promise, what) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} did not come`)), 20_000).unref());
  return Promise.race([promise, late]);
}
