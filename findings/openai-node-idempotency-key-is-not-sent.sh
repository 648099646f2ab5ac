#!/usr/bin/env bash
# openai-node: a request's option `idempotencyKey` ("a unique key for this request to enable idempotency") is taken and not
# sent: no header has a name for it. The library tries again by itself after 408, 409, 429, 5xx and timeouts, so that a server
# that asks for one key a request sees two requests, and bills both. openai-python's option `idempotency_key` does the same.
#
# Say it as a header: {headers: {"Idempotency-Key": key}} reaches the server, the same at each try. Needs Node.js 20 or later
# with npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"type": "module"}' > package.json
npm install --silent --no-audit --no-fund openai@7.57.0
cat > look.mjs <<'NODE'
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import OpenAI from "openai";

const seen = [];
const server = createServer((request, response) => {
  seen.push([request.headers["x-stainless-retry-count"], request.headers["idempotency-key"]]);
  const failed = request.headers["x-stainless-retry-count"] === "0"; // so that it tries again
  response.writeHead(failed ? 500 : 200, { "content-type": "application/json", "retry-after-ms": "1" });
  response.end(JSON.stringify({ id: "a", object: "chat.completion", created: 1, model: "m", choices: [] }));
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const client = new OpenAI({ baseURL: `http://127.0.0.1:${server.address().port}/v1`, apiKey: "x" });
console.log("openai for Node", JSON.parse(readFileSync("node_modules/openai/package.json")).version);
console.log("behaviour: the option idempotencyKey is sent with no try; a header is, with each");
const found = {};
for (const [name, options] of Object.entries({
  "as an option": { idempotencyKey: "once" },
  "as a header": { headers: { "Idempotency-Key": "once" } },
})) {
  seen.length = 0;
  await client.chat.completions.create({ model: "m", messages: [{ role: "user", content: "hi" }] }, options);
  found[name] = seen.map(([, key]) => key ?? "none");
  console.log(`${name.padEnd(13)}${found[name].length} requests, with the keys: ${found[name].join(", ")}`);
}
server.close();
assert.deepEqual(found, { "as an option": ["none", "none"], "as a header": ["once", "once"] }, "it sends otherwise than before");
process.exit(0);
NODE
node look.mjs
