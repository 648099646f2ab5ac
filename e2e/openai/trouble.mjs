// An upstream that behaves as it is asked to, without any package: to see what clients and a gateway make of it.
//
//   node trouble.mjs [PORT]
//
// It speaks OpenAI's chat completions and models. Whoever wants trouble says so in the last user message, as JSON:
//
//   {"id": "a", "status": 503, "times": 2, "retryAfter": 1}    the first two requests with this id fail
//   {"words": 50, "every": 20}                                  an answer of 50 words, streamed one each 20 ms
//   {"words": 50, "dropAfter": 5}                               the connection is cut after 5 of them
//   {"silent": true}                                            no answer at all; with "words", none after them
//   {"endless": true}                                           words until the client leaves
//   {"garbage": true}                                           a body, or a chunk, that is not JSON
//   {"usage": {"completion_tokens": 1000000}}                   other usage than what was sent
//   {"model": "another"}                                        another model's name in the answer
//
// Anything else is answered in as many words as `max_tokens` allows, eight at most. Each word is one model token, and so
// is each word of the messages. Keys: any but `sk-wrong` (401) and `sk-limited` (403); a body over 32 MiB is 413.
// `GET /log` tells what was sent: one object a request, with what its client has shown of itself and what it was sent.

import { createServer } from "node:http";
import { argv, exit, stdout } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

const MODEL = "trouble";
const LIMIT = 32 << 20;
const log = [];
const failed = new Map();

const fault = (status, type, code, message, param = null) => ({ status, body: { error: { message, type, param, code } } });

const FAULTS = {
  400: fault(400, "invalid_request_error", null, "it was asked to refuse this"),
  // litellm knows a wrong key by OpenAI's own words only, and takes any other invalid request for 400.
  401: fault(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided"),
  403: fault(403, "request_forbidden", "model_not_allowed", "this key may not use this model"),
  404: fault(404, "invalid_request_error", "model_not_found", "there is no such model", "model"),
  413: fault(413, "invalid_request_error", "request_too_large", `the body is over ${LIMIT} bytes`),
  422: fault(422, "invalid_request_error", null, "it cannot be processed"),
  429: fault(429, "requests", "rate_limit_exceeded", "too many requests at once"),
};

function send(response, { status, body }, headers = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text), ...headers });
  response.end(text);
}

async function read(request, response) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size <= LIMIT) parts.push(part);
  }
  if (size <= LIMIT) return Buffer.concat(parts).toString();
  send(response, FAULTS[413]); // read to its end first: a client that is still sending would not see the answer
  return null;
}

const textOf = ({ content }) => (Array.isArray(content) ? content.map((part) => part.text ?? "").join("") : content ?? "");

function wishOf(messages) {
  const last = messages.filter((message) => message.role === "user").at(-1);
  try {
    const wish = JSON.parse(textOf(last));
    return typeof wish === "object" && wish !== null ? wish : {};
  } catch {
    return {};
  }
}

async function chat(request, response, body, entry) {
  const wish = wishOf(body.messages);
  entry.id = wish.id;
  if (wish.status) {
    const count = (failed.get(wish.id) ?? 0) + 1;
    failed.set(wish.id, count);
    if (count <= (wish.times ?? Infinity)) {
      const headers = wish.retryAfter === undefined ? {} : { "retry-after": String(wish.retryAfter) };
      entry.status = wish.status;
      return send(response, FAULTS[wish.status] ?? fault(wish.status, "server_error", null, "it was asked to fail"), headers);
    }
  }
  const most = body.max_completion_tokens ?? body.max_tokens ?? 8;
  const words = wish.endless ? Infinity : wish.words ?? Math.min(8, most);
  const prompt = body.messages.map(textOf).join(" ").split(/\s+/).filter(Boolean).length;
  const usage = (sent) => {
    const counted = { prompt_tokens: prompt, completion_tokens: sent, ...wish.usage };
    return { ...counted, total_tokens: counted.prompt_tokens + counted.completion_tokens };
  };
  const reason = words > most ? "length" : "stop";
  const head = { id: `chatcmpl-${log.length}`, created: Math.floor(Date.now() / 1000), model: wish.model ?? MODEL };
  const word = (number) => `word${number} `;
  entry.status = 200;
  const gone = new AbortController();
  response.on("close", () => {
    entry.left = !response.writableFinished;
    gone.abort();
  });
  const pause = (milliseconds) => sleep(milliseconds, null, { signal: gone.signal });

  if (!body.stream) {
    if (wish.silent) return;
    if (wish.every) await pause(wish.every * words);
    if (wish.garbage) return send(response, { status: 200, body: '{"choices": [{"mess' });
    if (wish.dropAfter !== undefined) {
      response.writeHead(200, { "content-type": "application/json", "content-length": 1000 });
      return response.write('{"object": "chat.completion", ', () => response.destroy());
    }
    const content = Array.from({ length: Math.min(words, most) }, (_, number) => word(number)).join("");
    entry.sent = Math.min(words, most);
    const choices = [{ index: 0, message: { role: "assistant", content, refusal: null }, logprobs: null, finish_reason: reason }];
    return send(response, { status: 200, body: { ...head, object: "chat.completion", choices, usage: usage(entry.sent) } });
  }
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  const told = body.stream_options?.include_usage ? { usage: null } : {};
  const chunk = (delta, finish_reason = null) =>
    response.write(
      `data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", choices: [{ index: 0, delta, logprobs: null, finish_reason }], ...told })}\n\n`,
    );
  chunk({ role: "assistant", content: "" });
  for (let number = 0; number < Math.min(words, wish.endless ? Infinity : most); number++) {
    if (gone.signal.aborted) return;
    if (number === wish.dropAfter) return response.destroy();
    if (wish.garbage && number === 2) response.write('data: {"choices": [{"del\n\n');
    chunk({ content: word(number) });
    entry.sent = number + 1;
    if (wish.every || number % 64 === 0) await pause(wish.every ?? 1);
  }
  if (wish.silent) return;
  chunk({}, reason);
  if (body.stream_options?.include_usage) {
    response.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", choices: [], usage: usage(entry.sent) })}\n\n`);
  }
  response.end("data: [DONE]\n\n");
}

const server = createServer(async (request, response) => {
  response.on("error", () => {});
  const path = request.url.replace(/^\/v1/, "").replace(/\?.*/, "");
  if (path === "/log") return send(response, { status: 200, body: log });
  const entry = { path, status: 0, sent: 0, left: false, headers: request.headers };
  try {
    const text = await read(request, response);
    if (text === null) return;
    const refuse = (status, message) => {
      entry.status = status;
      const known = FAULTS[status];
      send(response, message ? { status, body: { error: { ...known.body.error, message } } } : known);
    };
    const key = request.headers.authorization?.replace(/^Bearer /, "");
    if (key?.endsWith("wrong")) return refuse(401);
    const model = { id: MODEL, object: "model", created: 1_700_000_000, owned_by: "tests" };
    if (path === "/models") return send(response, { status: 200, body: { object: "list", data: [model] } });
    if (path === `/models/${MODEL}`) return send(response, { status: 200, body: model });
    if (path !== "/chat/completions" || request.method !== "POST") return refuse(404);
    log.push(entry);
    let body;
    try {
      body = JSON.parse(text);
    } catch (error) {
      return refuse(400, `the body is not JSON: ${error.message}`);
    }
    if (key?.endsWith("limited")) return refuse(403);
    if (body.model !== MODEL) return refuse(404);
    if (!Array.isArray(body.messages) || body.messages.length === 0) return refuse(400, "messages is not a list of messages");
    if (body.max_tokens !== undefined && !(body.max_tokens > 0)) return refuse(400, "max_tokens is below 1");
    await chat(request, response, body, entry);
  } catch (error) {
    if (error.name !== "AbortError" && error.code !== "ECONNRESET" && error.message !== "aborted") throw error;
  }
});
server.listen(Number(argv[2] ?? 0), "127.0.0.1", () => {
  stdout.write(`upstream http://127.0.0.1:${server.address().port}/v1 ${MODEL}\n`);
});
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => exit(0));
