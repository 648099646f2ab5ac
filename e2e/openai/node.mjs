// npm's `openai` as it comes, over everything that applications do with it. See common.mjs.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { LengthFinishReasonError } from "openai/error";
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  checkCompletion, checkError, checkHeaders, checkUsage, gateway, newId, place, rejection, run, soon, upstreamSaw, wish,
} from "./common.mjs";

const { model, trouble } = place;
// llama.cpp now and then closes a connection that was about to be used again; its clients try again, a gateway's need not.
const client = new OpenAI({ baseURL: place.url, apiKey: place.key, maxRetries: gateway ? 0 : 2, timeout: 30_000 });
const other = (apiKey, more = {}) => new OpenAI({ baseURL: trouble.url, apiKey, maxRetries: 0, timeout: 30_000, ...more });
const hello = [{ role: "system", content: "You are terse." }, { role: "user", content: "Say something." }];

const Weather = z.object({ city: z.enum(["Oslo", "Rome"]), celsius: z.boolean() });
const weather = zodFunction({ name: "weather", description: "Tells the weather.", parameters: Weather });
const City = z.object({ name: z.enum(["Oslo", "Rome"]), coast: z.boolean() });

// Reads a whole stream; what came, and that it is in order.
async function collect(stream) {
  let text = "";
  const chunks = [];
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    assert.equal(chunk.id, (chunks[0] ?? chunk).id);
    assert.equal(chunk.model, model);
    chunks.push(chunk);
    text += chunk.choices[0]?.delta.content ?? "";
  }
  const reasons = chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean);
  assert.equal(reasons.length, 1, "one finish reason");
  // llama.cpp leaves the role out where its first model token is but half a character, and then the helpers fail: where
  // they are used, a seed sees to it that it is not.
  const roles = chunks.map((chunk) => chunk.choices[0]?.delta.role).filter(Boolean);
  assert(roles.every((role) => role === "assistant"), roles.join());
  return { text, chunks, reason: reasons[0], usage: chunks.at(-1).usage };
}

function responder() {
  const { url, key } = place.echo;
  return gateway ? [new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 }), "echo"] : [client, model];
}

const parts = {
  async models() {
    const all = [];
    for await (const one of client.models.list()) all.push(one);
    const ours = all.find((one) => one.id === model);
    assert(ours, `${model} is not among ${all.map((one) => one.id)}`);
    for (const one of all) {
      assert.equal(one.object, "model");
      assert(Number.isInteger(one.created));
      assert.equal(typeof one.owned_by, "string");
    }
    if (!gateway) return `${all.length} listed`;
    assert.equal((await client.models.retrieve(model)).id, model);
    const error = await rejection(client.models.retrieve("no-such-model"));
    assert(error instanceof OpenAI.NotFoundError);
    checkError(error, 404, "model_not_found");
    return `${all.length} listed, one retrieved, an unknown one is 404`;
  },

  async chat() {
    const body = { model, messages: hello, max_tokens: 12, temperature: 0.8, user: "someone" };
    const { data, response } = await client.chat.completions.create(body).withResponse();
    checkCompletion(data, 12);
    checkHeaders(response.headers, false);
    if (gateway) assert.equal(data._request_id, response.headers.get("x-request-id"));
    checkCompletion(await client.chat.completions.create({ model, messages: hello, max_completion_tokens: 9 }), 9);
    const parts = [{ role: "user", content: [{ type: "text", text: "in parts" }] }, { role: "assistant", content: "so" }];
    checkCompletion(await client.chat.completions.create({ model, messages: [...parts, ...parts], max_tokens: 3 }), 3);
    const raw = await client.chat.completions.create(body).asResponse();
    assert.equal((await raw.json()).object, "chat.completion");
    return `${data.usage.total_tokens} model tokens, headers, messages in parts, a raw response`;
  },

  async seed() {
    const say = async (seed) => {
      const answer = await client.chat.completions.create({ model, messages: hello, max_tokens: 24, seed, temperature: 1 });
      return answer.choices[0].message.content;
    };
    const [first, again, another] = [await say(7), await say(7), await say(8)];
    assert.equal(first, again);
    assert.notEqual(first, another);
    return "the same seed says the same, another seed another thing";
  },

  async choices() {
    const answer = await client.chat.completions.create({ model, messages: hello, max_tokens: 6, n: 3 });
    assert.equal(answer.choices.length, 3);
    checkCompletion(answer, 6);
    // llama.cpp tells the usage of the first choice only, and a gateway charges no more than it is told.
    const seen = new Set();
    const stream = await client.chat.completions.create({ model, messages: hello, max_tokens: 6, n: 2, stream: true });
    for await (const chunk of stream) for (const choice of chunk.choices) seen.add(choice.index);
    assert.deepEqual([...seen].sort(), [0, 1]);
    return "three at once, two in one stream";
  },

  async stop() {
    // Noise that is not UTF-8 can hide a letter from llama.cpp: a seed with which it does not.
    const body = { model, messages: hello, max_tokens: 800, seed: 5 };
    for (const stop of ["e", ["e", " the"]]) {
      const answer = await client.chat.completions.create({ ...body, stop });
      assert.equal(answer.choices[0].finish_reason, "stop");
      assert(!answer.choices[0].message.content.includes("e"), answer.choices[0].message.content);
      assert(answer.usage.completion_tokens < 800);
    }
    const { text, reason } = await collect(await client.chat.completions.create({ ...body, stop: "e", stream: true }));
    assert.equal(reason, "stop");
    assert(!text.includes("e"), text);
    return "one, several, and in a stream";
  },

  async logprobs() {
    const body = { model, messages: hello, max_tokens: 8, logprobs: true, top_logprobs: 3 };
    const check = (content) => {
      assert(content.length > 0);
      for (const one of content) {
        assert.equal(typeof one.token, "string");
        assert(one.logprob <= 0);
        assert(one.bytes === null || one.bytes.every((byte) => byte >= 0 && byte < 256));
        assert.equal(one.top_logprobs.length, 3);
        assert(one.top_logprobs[0].logprob >= one.top_logprobs[2].logprob);
      }
    };
    const answer = await client.chat.completions.create(body);
    check(answer.choices[0].logprobs.content);
    assert(answer.choices[0].logprobs.content.length <= answer.usage.completion_tokens);
    const { chunks } = await collect(await client.chat.completions.create({ ...body, stream: true }));
    check(chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []));
    return `${answer.choices[0].logprobs.content.length} model tokens with three candidates each, and in a stream`;
  },

  async stream() {
    const body = { model, messages: hello, max_tokens: 40, seed: 5, stream: true };
    const plain = await collect(await client.chat.completions.create(body));
    assert(!plain.usage, "usage was not asked for");
    assert(plain.chunks.length > 5, `${plain.chunks.length} chunks`);
    const request = client.chat.completions.create({ ...body, stream_options: { include_usage: true } });
    const { data, response } = await request.withResponse();
    checkHeaders(response.headers, true);
    const counted = await collect(data);
    assert.equal(counted.text, plain.text);
    assert.deepEqual(counted.chunks.at(-1).choices, []);
    checkUsage(counted.usage, 40);
    if (counted.reason === "length") assert.equal(counted.usage.completion_tokens, 40);
    assert(counted.chunks.slice(0, -1).every((chunk) => !chunk.usage));
    const helper = client.chat.completions.stream({ ...body, stream: undefined });
    let heard = "";
    helper.on("content", (delta) => (heard += delta));
    const final = await helper.finalChatCompletion();
    assert.equal(final.choices[0].message.content, plain.text);
    assert.equal(heard, plain.text);
    return `${plain.chunks.length} chunks, usage only when asked for, the helper agrees`;
  },

  async wire() {
    const response = await fetch(`${place.url}/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${place.key}`, "content-type": "application/json" },
      body: JSON.stringify({ model, messages: hello, max_tokens: 5, stream: true }),
    });
    const text = await response.text();
    const events = text.split("\n\n");
    assert.equal(events.pop(), "", "it ends with an empty line");
    // The receipt is a comment within the lines of the last event: some readers take an empty line for an event.
    const [done, ...receipt] = events.pop().split("\n").reverse();
    assert.equal(done, "data: [DONE]");
    for (const event of events) {
      if (event.startsWith(":")) continue;
      assert(event.startsWith("data: "), event);
      JSON.parse(event.slice(6));
    }
    if (gateway) {
      assert.match(receipt[0], /^: earnest-receipt \{.*\}$/);
      JSON.parse(receipt[0].replace(": earnest-receipt ", ""));
    }
    return `${events.length} events, each one line, [DONE] last${gateway ? ", the receipt before it" : ""}`;
  },

  async tools() {
    const body = { model, messages: hello, max_tokens: 1500, tools: [weather] };
    const named = { type: "function", function: { name: "weather" } };
    for (const tool_choice of ["required", named]) {
      const { choices: [choice], usage } = await client.chat.completions.create({ ...body, tool_choice });
      assert.equal(choice.finish_reason, "tool_calls");
      const [call] = choice.message.tool_calls;
      assert(call.id.length > 0);
      assert.equal(call.type, "function");
      assert.equal(call.function.name, "weather");
      Weather.parse(JSON.parse(call.function.arguments));
      checkUsage(usage, 1500);
      const told = [...hello, choice.message, { role: "tool", tool_call_id: call.id, content: "Rain." }];
      checkCompletion(await client.chat.completions.create({ model, messages: told, tools: [weather], tool_choice: "none", max_tokens: 4 }), 4);
    }
    const parsed = await client.chat.completions.parse({ ...body, tool_choice: "required" });
    Weather.parse(parsed.choices[0].message.tool_calls[0].function.parsed_arguments);
    const none = await client.chat.completions.create({ ...body, tool_choice: "none", max_tokens: 10 });
    assert(!none.choices[0].message.tool_calls?.length);
    return "required, by name, parsed, refused; results are taken back";
  },

  async toolStream() {
    const body = { model, messages: hello, max_tokens: 1500, seed: 5, tools: [weather], tool_choice: "required", stream: true };
    const { chunks, reason } = await collect(await client.chat.completions.create(body));
    assert.equal(reason, "tool_calls");
    const deltas = chunks.flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    assert(deltas.every((delta) => delta.index === 0));
    assert(deltas[0].id && deltas[0].function.name === "weather", JSON.stringify(deltas[0]));
    Weather.parse(JSON.parse(deltas.map((delta) => delta.function?.arguments ?? "").join("")));
    const helper = client.chat.completions.stream({ ...body, stream: undefined });
    const final = await helper.finalChatCompletion();
    Weather.parse(final.choices[0].message.tool_calls[0].function.parsed_arguments);
    return `a call in ${deltas.length} pieces, and from the helper`;
  },

  async runTools() {
    const calls = [];
    const runner = client.chat.completions.runTools(
      {
        model, messages: hello, max_tokens: 1500,
        tools: [zodFunction({ name: "weather", parameters: Weather, function: (given) => (calls.push(given), "Rain.") })],
        tool_choice: "required",
      },
      { maxChatCompletions: 2 },
    );
    await runner.done();
    assert(calls.length >= 1);
    for (const call of calls) Weather.parse(call);
    return `${calls.length} calls made by the helper`;
  },

  async structured() {
    const body = { model, messages: hello, max_tokens: 1500, seed: 5, response_format: zodResponseFormat(City, "city") };
    const answer = await client.chat.completions.parse(body);
    City.parse(answer.choices[0].message.parsed);
    checkUsage(answer.usage, 1500);
    const final = await client.chat.completions.stream(body).finalChatCompletion();
    City.parse(final.choices[0].message.parsed);
    const cut = await rejection(client.chat.completions.parse({ ...body, max_tokens: 2 }));
    assert(cut instanceof LengthFinishReasonError, cut.stack);
    const object = { model, messages: hello, max_tokens: 10, response_format: { type: "json_object" } };
    checkCompletion(await client.chat.completions.create(object), 10);
    return "parsed, streamed and parsed, cut short, any object";
  },

  async completions() {
    const body = { model, prompt: "Once upon a time", max_tokens: 10 };
    const answer = await client.completions.create(body);
    assert.equal(answer.object, "text_completion");
    assert.equal(typeof answer.choices[0].text, "string");
    assert(["stop", "length"].includes(answer.choices[0].finish_reason));
    checkUsage(answer.usage, 10);
    let text = "";
    let usage;
    const stream = await client.completions.create({ ...body, seed: 3, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
      assert.equal(chunk.object, "text_completion");
      text += chunk.choices[0]?.text ?? "";
      usage = chunk.usage ?? usage;
    }
    checkUsage(usage, 10);
    assert(text.length > 0);
    const two = await client.completions.create({ ...body, prompt: ["One", "Two"] });
    assert.deepEqual(two.choices.map((choice) => choice.index), [0, 1]);
    return "one, streamed, two prompts at once";
  },

  async embeddings() {
    const input = ["the first text", "another"];
    const decoded = await client.embeddings.create({ model, input }); // the client asks for base64 and decodes
    const floats = await client.embeddings.create({ model, input, encoding_format: "float" });
    const base64 = await client.embeddings.create({ model, input, encoding_format: "base64" });
    assert.equal(decoded.object, "list");
    for (const [index, { embedding, ...one }] of decoded.data.entries()) {
      assert.deepEqual([one.index, one.object], [index, "embedding"]);
      assert(embedding.length > 8 && embedding.every(Number.isFinite));
      const same = (left, right) => left.every((number, at) => Math.abs(number - right[at]) < 1e-3);
      assert(same(embedding, floats.data[index].embedding));
      const bytes = Buffer.from(base64.data[index].embedding, "base64");
      assert(same(Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(at * 4)), embedding));
    }
    assert.notDeepEqual(decoded.data[0].embedding, decoded.data[1].embedding);
    assert(decoded.usage.prompt_tokens > 0);
    assert.equal(decoded.usage.total_tokens, decoded.usage.prompt_tokens);
    const numbers = await client.embeddings.create({ model, input: [1, 2, 3] });
    assert.equal(numbers.data.length, 1);
    return `${decoded.data[0].embedding.length} numbers, as floats and as base64; model tokens as input`;
  },

  // llama.cpp numbers no events and heeds no format: behind a gateway the echo answers in its place.
  async responses() {
    const [client, model] = responder();
    const body = { model, input: "Say something.", instructions: "You are terse.", max_output_tokens: 12 };
    const answer = await client.responses.create(body);
    assert.equal(answer.object, "response");
    assert(["completed", "incomplete"].includes(answer.status), answer.status);
    assert.equal(typeof answer.output_text, "string");
    assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
    assert(answer.usage.output_tokens <= 12);
    const listed = await client.responses.create({ ...body, input: hello });
    assert.equal(listed.object, "response");
    const events = [];
    for await (const event of await client.responses.create({ ...body, stream: true })) events.push(event);
    assert.equal(events[0].type, "response.created");
    assert.match(events.at(-1).type, /^response\.(completed|incomplete)$/);
    const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
    const done = events.find((event) => event.type === "response.output_text.done");
    assert.equal(deltas.join(""), done?.text);
    const { usage } = events.at(-1).response;
    assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
    if (!gateway) return `created, and ${events.length} events streamed`;
    assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, index) => index));
    const final = await client.responses.stream({ ...body, seed: undefined }).finalResponse();
    assert.equal(typeof final.output_text, "string");
    return `created, ${events.length} events streamed in order, the helper agrees`;
  },

  async responsesParse() {
    const [client, model] = responder();
    const body = { model, input: "Name a city.", max_output_tokens: 1500, text: { format: zodTextFormat(City, "city") } };
    if (!gateway) return "skipped: llama.cpp does not heed a format here";
    const answer = await client.responses.parse(body);
    City.parse(answer.output_parsed);
    City.parse((await client.responses.stream(body).finalResponse()).output_parsed);
    const tools = [zodResponsesFunction({ name: "weather", parameters: Weather })];
    const ask = { model, input: "The weather?", max_output_tokens: 1500, tools, tool_choice: "required" };
    const called = await client.responses.parse(ask);
    const call = called.output.find((item) => item.type === "function_call");
    assert.equal(call.name, "weather");
    Weather.parse(call.parsed_arguments);
    const result = { type: "function_call_output", call_id: call.call_id, output: "Rain." };
    const input = [{ role: "user", content: ask.input }, { ...call, parsed_arguments: undefined }, result];
    assert.equal((await client.responses.create({ model, input, max_output_tokens: 4 })).object, "response");
    return "parsed, streamed and parsed, a tool called and answered";
  },

  async unknownFields() {
    const body = { model, messages: hello, max_tokens: 3, min_p: 0.1, some_field_of_tomorrow: { deep: [1, null] } };
    checkCompletion(await client.chat.completions.create(body), 3);
    return "taken";
  },

  async badRequests() {
    const bad = [
      { model, messages: "not a list" },
      { model },
      { model, messages: hello, response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "nothing" } } } },
    ];
    for (const body of bad) {
      const error = await rejection(client.chat.completions.create({ max_tokens: 5, ...body }));
      assert(error instanceof OpenAI.BadRequestError, error.stack);
      if (gateway) checkError(error, 400);
    }
    for (const body of ['{"model": "', "", "[]", "null", "\u0000"]) {
      const headers = { authorization: `Bearer ${place.key}`, "content-type": "application/json" };
      const response = await fetch(`${place.url}/chat/completions`, { method: "POST", headers, body });
      assert(response.status >= 400, `${JSON.stringify(body)}: ${response.status}`);
      const { error } = await response.json();
      assert.equal(typeof error.message, "string");
      if (gateway) checkError({ status: response.status, error }, 400);
    }
    return "wrong types, missing fields, no JSON: 400";
  },

  async keysAndModels() {
    const body = { model: trouble.model, messages: hello };
    const wrong = await rejection(other(place.wrongKey).chat.completions.create(body));
    assert(wrong instanceof OpenAI.AuthenticationError, wrong.stack);
    checkError(wrong, 401, "invalid_api_key");
    const unknown = await rejection(other(trouble.key).chat.completions.create({ ...body, model: "no-such-model" }));
    assert(unknown instanceof OpenAI.NotFoundError, unknown.stack);
    checkError(unknown, 404, "model_not_found");
    const path = await rejection(other(trouble.key).get("/no-such-path"));
    assert(path instanceof OpenAI.NotFoundError, path.stack);
    checkError(path, 404);
    const said = ["a wrong key is 401", "an unknown model and an unknown path are 404"];
    if (gateway) {
      for (const authorization of [undefined, "Basic abc", "Bearer", "Bearer sk-other", "Bearer sk-earnest-short"]) {
        const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
        const response = await fetch(`${place.url}/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
        checkError({ status: response.status, ...(await response.json()) }, 401);
      }
      said.push("no key and no proper key are 401");
    }
    if (place.limitedKey) {
      const limited = await rejection(other(place.limitedKey).chat.completions.create(body));
      assert(limited instanceof OpenAI.PermissionDeniedError, limited.stack);
      checkError(limited, 403);
      said.push("a key that may not use it is 403");
    } else said.push("skipped: no EARNEST_LIMITED_KEY");
    if (place.emptyKey) {
      let attempts = 0;
      const counting = (...given) => (attempts++, fetch(...given));
      const empty = await rejection(other(place.emptyKey, { fetch: counting }).chat.completions.create(body));
      assert(empty instanceof OpenAI.RateLimitError, empty.stack);
      checkError(empty, 429, "insufficient_quota");
      said.push("a key without budget is 429 insufficient_quota");
    } else said.push("skipped: no EARNEST_EMPTY_KEY");
    return said.join("; ");
  },

  async tooLarge() {
    const messages = [{ role: "user", content: "a".repeat(40 << 20) }];
    const error = await rejection(other(trouble.key).chat.completions.create({ model: trouble.model, messages }));
    checkError(error, 413);
    return "40 MiB are 413, and the answer is seen";
  },

  async upstreamErrors() {
    const quiet = other(trouble.key);
    const ask = (wanted) => quiet.chat.completions.create({ model: trouble.model, messages: wish({ id: newId(), ...wanted }) });
    const refused = await rejection(ask({ status: 400 }));
    assert(refused instanceof OpenAI.BadRequestError, refused.stack);
    checkError(refused, 400);
    const odd = await rejection(ask({ status: 422 }));
    assert(gateway ? [400, 422].includes(odd.status) : odd instanceof OpenAI.UnprocessableEntityError, odd.stack);
    for (const status of [500, 503]) {
      const failed = await rejection(ask({ status }));
      assert(failed instanceof OpenAI.InternalServerError, failed.stack);
      checkError(failed, failed.status);
    }
    const limited = await rejection(ask({ status: 429, retryAfter: 1 }));
    assert(limited instanceof OpenAI.RateLimitError, limited.stack);
    checkError(limited, 429);
    assert(Number(limited.headers.get("retry-after")) > 0, "no Retry-After");
    for (const wanted of [{ garbage: true }, { dropAfter: 0 }]) {
      const broken = await rejection(ask(wanted));
      if (gateway) {
        assert(broken instanceof OpenAI.InternalServerError, broken.stack);
        checkError(broken, broken.status);
      }
    }
    return "400, 422, 500, 503, 429 with Retry-After, a body that is no JSON, a body cut short";
  },

  async retries() {
    const attempts = [];
    const counting = async (...given) => {
      const response = await fetch(...given);
      attempts.push({ at: Date.now(), status: response.status });
      return response;
    };
    const patient = other(trouble.key, { maxRetries: 3, fetch: counting });
    const ask = (wanted) => patient.chat.completions.create({ model: trouble.model, messages: wish({ id: newId(), ...wanted }) });
    const start = Date.now();
    assert.equal((await ask({ status: 429, times: 1, retryAfter: 1 })).object, "chat.completion");
    assert(Date.now() - start >= 950, `after ${Date.now() - start} ms: Retry-After was not waited for`);
    const limited = attempts.length;
    assert.equal((await ask({ status: 500, times: 2 })).object, "chat.completion");
    const failing = attempts.length - limited;
    const before = attempts.length;
    await rejection(ask({ status: 400 }));
    assert.equal(attempts.length, before + 1, "400 is not tried again");
    return `429 in ${limited} attempts after a second, 500 in ${failing}, 400 in one`;
  },

  async connection() {
    const closed = new OpenAI({ baseURL: "http://127.0.0.1:9/v1", apiKey: "sk-none", maxRetries: 0 });
    const error = await rejection(closed.models.list());
    assert(error instanceof OpenAI.APIConnectionError, error.stack);
    const id = newId();
    const hurried = other(trouble.key, { timeout: 400 });
    const late = await rejection(hurried.chat.completions.create({ model: trouble.model, messages: wish({ id, silent: true }) }));
    assert(late instanceof OpenAI.APIConnectionTimeoutError, late.stack);
    if (trouble.log) await upstreamSaw(id, ([entry]) => entry.left);
    return "refused, and too late, which the upstream hears of";
  },

  async pace() {
    const stream = await other(trouble.key).chat.completions.create({
      model: trouble.model, messages: wish({ words: 20, every: 20 }), max_tokens: 100, stream: true,
    });
    const times = [];
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) times.push(performance.now());
    assert.equal(times.length, 20);
    assert(times.at(-1) - times[0] > 300, `all 20 words within ${times.at(-1) - times[0]} ms: it was held back`);
    return `20 words over ${Math.round(times.at(-1) - times[0])} ms`;
  },

  async cancel() {
    for (const how of ["break", "abort"]) {
      const id = newId();
      const stop = new AbortController();
      const stream = await other(trouble.key).chat.completions.create(
        { model: trouble.model, messages: wish({ id, endless: true, every: 10 }), stream: true, max_tokens: 4000 },
        { signal: stop.signal },
      );
      let words = 0;
      for await (const chunk of stream) {
        if (chunk.choices[0]?.delta.content) words += 1;
        if (words === 5 && how === "break") break;
        if (words === 5) stop.abort();
      }
      assert(words >= 5 && words < 50, `${words} words`);
      if (!trouble.log) continue;
      const [entry] = await upstreamSaw(id, ([entry]) => entry.left);
      assert(entry.sent < 200, `the upstream sent ${entry.sent} words to one who had left after 5`);
    }
    const stream = await client.chat.completions.create({ model, messages: hello, max_tokens: 3000, stream: true });
    for await (const _ of stream) break;
    checkCompletion(await client.chat.completions.create({ model, messages: hello, max_tokens: 3 }), 3);
    return `by break and by abort${trouble.log ? ", and the upstream stopped" : ""}; the next request is served`;
  },

  async brokenStreams() {
    const ask = async (wanted) => {
      const stream = await other(trouble.key, { timeout: 20_000 }).chat.completions.create({
        model: trouble.model, messages: wish({ id: newId(), ...wanted }), stream: true, max_tokens: 100,
      });
      let words = 0;
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) words += 1;
      return words;
    };
    for (const wanted of [{ words: 20, every: 5, dropAfter: 5 }, { words: 20, every: 5, garbage: true }]) {
      const error = await soon(rejection(ask(wanted)), "the end of a broken stream", 15_000);
      if (gateway) assert(error instanceof OpenAI.APIError, error.stack);
    }
    return "cut short and garbled: neither looks like a whole answer";
  },

  async secrets() {
    if (!trouble.log) return "skipped: no EARNEST_TROUBLE_LOG";
    const id = newId();
    await other(trouble.key).chat.completions.create({ model: trouble.model, messages: wish({ id }) });
    const [entry] = await upstreamSaw(id);
    if (!gateway) return "what the upstream is shown is only of interest behind a gateway";
    assert(!JSON.stringify(entry.headers).includes(trouble.key), "the upstream was shown the holder's key");
    return "the upstream is not shown the key";
  },

  async parallel() {
    const asked = Array.from({ length: 24 }, (_, index) =>
      client.chat.completions.create({ model, messages: [{ role: "user", content: `number ${index}` }], max_tokens: 4 }),
    );
    const answers = await Promise.all(asked);
    answers.forEach((answer) => checkCompletion(answer, 4));
    assert.equal(new Set(answers.map((answer) => answer.id)).size, 24);
    return "24 at once, each with an id of its own";
  },

  async echo() {
    const { url, key } = place.echo;
    if (!url) return "skipped: no EARNEST_ECHO_URL";
    const lab = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
    const body = { model: "echo", messages: [{ role: "user", content: "Three small words" }] };
    const { choices: [choice], usage } = await lab.chat.completions.create(body);
    assert(choice.message.content.includes("Three small words"), choice.message.content);
    assert.match(choice.message.content, /echo/i); // it says what it is
    assert.equal(choice.finish_reason, "stop");
    checkUsage(usage);
    let text = "";
    for await (const chunk of await lab.chat.completions.create({ ...body, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
    assert.equal(text, choice.message.content);
    return "says what it was told, and that it is an echo";
  },

  async idempotency() {
    if (!gateway) return "a gateway's promise";
    const idempotencyKey = newId();
    const ask = () =>
      client.chat.completions
        .create({ model, messages: hello, max_tokens: 8 }, { headers: { "Idempotency-Key": idempotencyKey } })
        .withResponse();
    const [first, again] = [await ask(), await ask()];
    assert.deepEqual(again.data, first.data);
    assert.equal(again.response.headers.get("x-earnest-receipt"), first.response.headers.get("x-earnest-receipt"));
    return "one key, one answer, one receipt";
  },
};

await run("openai for Node", parts);
