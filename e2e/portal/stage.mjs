// A chain, a deployment and a portal for one script. With EARNEST_PORTAL_URL and EARNEST_RPC those that run already are
// used; else anvil and the example portal are started, as `node e2e/portal/walk.mjs` by hand needs them.

import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** anvil's first account. */
export const RICH = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const OPENS = 1788134400;

export async function stage(plan) {
  const { EARNEST_PORTAL_URL: url, EARNEST_RPC: rpc } = process.env;
  if (url && rpc) return { url, rpc, close() {} };
  const children = [];
  const folder = mkdtempSync(join(tmpdir(), "earnest-portal-"));
  const started = (command, args, options = {}) => new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], ...options });
    children.push(child);
    child.on("error", reject);
    let text = "";
    child.stdout.on("data", (data) => {
      text += data;
      const line = /Listening on (?:http:\/\/)?(\S+)/.exec(text);
      if (line) resolve(`http://${line[1]}`);
    });
    child.on("exit", () => reject(new Error(`${command} ended`)));
  });
  const anvil = process.env.EARNEST_ANVIL ?? join(root, "contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
  const node = await started(anvil, ["--port", "0", "--timestamp", String(OPENS), "--code-size-limit", "24576"]);
  writeFileSync(join(folder, "key"), RICH);
  const state = join(folder, "state");
  mkdirSync(state);
  const file = join(root, "e2e/portal/plans", `${plan}.toml`);
  const earnest = join(root, "target/release/earnest");
  execFileSync(earnest, ["deploy", file, "--rpc", node, "--key-file", join(folder, "key"), "--state", state], { stdio: "pipe" });
  const portal = await started(join(root, "target/release/examples/portal"), [state], { env: { ...process.env, EARNEST_KEY: RICH } });
  return { url: portal, rpc: node, state, close() { for (const child of children) child.kill(); } };
}

/** One JSON-RPC call. */
export async function call(rpc, method, params = []) {
  const answer = await fetch(rpc, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  const { result, error } = await answer.json();
  if (error) throw Object.assign(new Error(error.message), { code: error.code, data: error.data });
  return result;
}

/** Moves the chain's clock to a day such as 2026-09-02. */
export async function moveTo(rpc, day) {
  const time = Date.parse(day.includes("T") ? day : `${day}T00:00:00Z`) / 1000;
  await call(rpc, "evm_setNextBlockTimestamp", [time]);
  await call(rpc, "evm_mine");
}
