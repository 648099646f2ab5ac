// What the suites of OpenAI's clients share: where they connect, and how they tell what they checked.
//
//   node SUITE.mjs [--against upstream|gateway] [--only PART,PART]
//
// EARNEST_BASE_URL, EARNEST_API_KEY, EARNEST_MODEL: a model that can do everything; llama.cpp's server on noise, say,
//   or the gateway before it. Words are not looked at, for noise has none: shapes, types, usage and reasons are.
// EARNEST_TROUBLE_URL, EARNEST_TROUBLE_KEY: trouble.mjs, or the gateway before it; EARNEST_TROUBLE_LOG: its own log.
// EARNEST_WRONG_KEY, EARNEST_LIMITED_KEY, EARNEST_EMPTY_KEY: a key that is none, one that may not use the model trouble,
//   one with no budget left. EARNEST_ECHO_URL, EARNEST_ECHO_KEY: a gateway without an upstream, whose model is an echo.
//   What is not set is skipped, and said.
// EARNEST_WIRE: a file that gets a line of JSON for each exchange, to be held against docs/openapi.json.
//
// `upstream` (the default) asks what any such server must do; `gateway` all that Earnest's promises.

import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { argv, env, exit } from "node:process";
import { inspect } from "node:util";

const option = (name) => (argv.includes(name) ? argv[argv.indexOf(name) + 1] : undefined);

export const gateway = (option("--against") ?? "upstream") === "gateway";
export const place = {
  url: env.EARNEST_BASE_URL,
  key: env.EARNEST_API_KEY ?? "sk-none",
  model: env.EARNEST_MODEL ?? "noise",
  trouble: {
    url: env.EARNEST_TROUBLE_URL,
    key: env.EARNEST_TROUBLE_KEY ?? env.EARNEST_API_KEY ?? "sk-none",
    model: "trouble",
    log: env.EARNEST_TROUBLE_LOG,
  },
  echo: { url: env.EARNEST_ECHO_URL, key: env.EARNEST_ECHO_KEY ?? env.EARNEST_API_KEY },
  wrongKey: env.EARNEST_WRONG_KEY ?? (gateway ? `sk-earnest-${"A".repeat(43)}` : "sk-wrong"),
  limitedKey: env.EARNEST_LIMITED_KEY ?? (gateway ? undefined : "sk-limited"),
  emptyKey: env.EARNEST_EMPTY_KEY,
};

if (env.EARNEST_WIRE) {
  const plain = globalThis.fetch;
  globalThis.fetch = async (to, init) => {
    const answer = await plain(to, init);
    const json = answer.headers.get("content-type")?.startsWith("application/json");
    const line = {
      url: String(to?.url ?? to), method: init?.method ?? "GET", status: answer.status,
      asked: typeof init?.body === "string" ? init.body : null, answered: json ? await answer.clone().text().catch(() => null) : null,
    };
    appendFileSync(env.EARNEST_WIRE, `${JSON.stringify(line)}\n`);
    return answer;
  };
}

// Runs the parts one after the other; each says what it checked, and no failure hides another.
export async function run(client, parts) {
  assert(place.url, "EARNEST_BASE_URL is not set");
  const only = option("--only")?.split(",");
  const failures = [];
  let checked = 0;
  for (const [name, part] of Object.entries(parts)) {
    if (only && !only.includes(name)) continue;
    try {
      const said = await soon(part(), name);
      console.log(`${client}: ${name}: ${said}`);
      checked += 1;
    } catch (error) {
      failures.push(name);
      console.error(`${client}: ${name}: FAILED: ${inspect(error)}`);
    }
  }
  console.log(JSON.stringify({ client, against: gateway ? "gateway" : "upstream", checked, failed: failures }));
  exit(failures.length || checked === 0 ? 1 : 0);
}

// Fails rather than waiting for ever.
export function soon(promise, what, milliseconds = 60_000) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`${what} did not come in ${milliseconds} ms`)), milliseconds).unref();
  });
  return Promise.race([promise, late]);
}

export const rejection = (promise) =>
  promise.then((value) => assert.fail(`it went through: ${JSON.stringify(value)?.slice(0, 300)}`), (error) => error);

// What trouble.mjs is asked for.
export const wish = (wanted) => [{ role: "user", content: JSON.stringify(wanted) }];

let fresh = 0;
export const newId = () => `${process.pid}-${Date.now()}-${fresh++}`;

// What the upstream itself says of a request, when it is done with it.
export async function upstreamSaw(id, until = () => true) {
  for (const start = Date.now(); Date.now() - start < 5_000; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const entries = (await (await fetch(place.trouble.log)).json()).filter((entry) => entry.id === id);
    if (entries.length && until(entries)) return entries;
  }
  assert.fail(`the upstream did not say so of ${id} within 5 seconds`);
}

const whole = (number, what) => assert(Number.isSafeInteger(number) && number >= 0, `${what} is ${number}`);

// Usage of a chat completion: whole numbers that add up.
export function checkUsage(usage, most = Infinity) {
  whole(usage.prompt_tokens, "prompt_tokens");
  whole(usage.completion_tokens, "completion_tokens");
  assert(usage.prompt_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert(usage.completion_tokens <= most, `${usage.completion_tokens} model tokens, and ${most} were allowed`);
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  whole(cached, "cached_tokens");
  assert(cached <= usage.prompt_tokens);
}

export function checkCompletion(answer, most = Infinity) {
  assert.equal(answer.object, "chat.completion");
  assert(typeof answer.id === "string" && answer.id.length > 0);
  assert(Math.abs(answer.created - Date.now() / 1000) < 120, `created at ${answer.created}`);
  assert.equal(answer.model, place.model);
  assert(answer.choices.length > 0);
  for (const [index, choice] of answer.choices.entries()) {
    assert.equal(choice.index, index);
    assert.equal(choice.message.role, "assistant");
    assert(typeof choice.message.content === "string" || choice.message.content === null);
    assert(["stop", "length", "tool_calls"].includes(choice.finish_reason), choice.finish_reason);
  }
  checkUsage(answer.usage, most * answer.choices.length);
  const [choice] = answer.choices;
  if (answer.choices.length === 1 && choice.finish_reason === "length") {
    assert.equal(answer.usage.completion_tokens, most);
  }
}

// OpenAI's shape of an error, whoever names it.
export function checkError(error, status, code) {
  assert.equal(error.status, status, `${error.status}: ${error.message}`);
  const told = error.error;
  assert(told && typeof told.message === "string" && told.message.length > 0, JSON.stringify(told));
  assert(typeof told.type === "string", JSON.stringify(told));
  assert("param" in told && "code" in told, JSON.stringify(told));
  assert(told.code === null || typeof told.code === "string", `code ${told.code}`);
  if (code) assert.equal(told.code, code);
}

// What the gateway's own headers say of a JSON answer, or of a stream.
export function checkHeaders(headers, stream) {
  assert.match(headers.get("content-type"), stream ? /^text\/event-stream/ : /^application\/json/);
  if (!gateway) return;
  assert(headers.get("x-request-id"), "no x-request-id");
  const amount = headers.get(stream ? "x-earnest-reserve" : "x-earnest-charge");
  assert.match(amount ?? "none", /^\d+(\.\d+)?$/);
  assert(Number(amount) > 0, amount);
  if (!stream) JSON.parse(Buffer.from(headers.get("x-earnest-receipt"), "base64").toString());
}
