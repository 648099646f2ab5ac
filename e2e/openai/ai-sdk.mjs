// npm's `ai` with `@ai-sdk/openai-compatible`, as they come. See common.mjs.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError, NoObjectGeneratedError, Output, RetryError, embed, embedMany, generateText, isStepCount, streamText, tool,
} from "ai";
import { z } from "zod";
import { gateway, newId, place, rejection, run, upstreamSaw } from "./common.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const { model, trouble } = place;
const provider = (url, apiKey, more = {}) =>
  createOpenAICompatible({ name: "earnest", baseURL: url, apiKey, includeUsage: true, supportsStructuredOutputs: true, ...more });
const main = provider(place.url, place.key);
const chat = main.chatModel(model);
// See node.mjs: llama.cpp closes connections that were about to be used again.
const maxRetries = gateway ? 0 : 2;
const common = { model: chat, instructions: "You are terse.", prompt: "Say something.", seed: 5, maxRetries };
const troubled = (wanted, more = {}) => ({
  model: provider(trouble.url, trouble.key, more).chatModel(trouble.model), prompt: JSON.stringify(wanted), maxRetries: 0,
});

const Weather = z.object({ city: z.enum(["Oslo", "Rome"]), celsius: z.boolean() });
const City = z.object({ name: z.enum(["Oslo", "Rome"]), coast: z.boolean() });

function checkUsage({ inputTokens, outputTokens, totalTokens }, most) {
  assert(inputTokens > 0, `${inputTokens} in`);
  assert(outputTokens > 0 && outputTokens <= most, `${outputTokens} out, at most ${most}`);
  assert.equal(totalTokens, inputTokens + outputTokens);
}

const parts = {
  async text() {
    const { text, usage, finishReason, response } = await generateText({ ...common, maxOutputTokens: 12 });
    assert.equal(typeof text, "string");
    assert(["stop", "length"].includes(finishReason), finishReason);
    checkUsage(usage, 12);
    assert.equal(response.modelId, model);
    assert(response.id);
    if (gateway) assert(response.headers["x-earnest-charge"], "no x-earnest-charge");
    const stopped = await generateText({ ...common, maxOutputTokens: 800, stopSequences: ["e"] });
    assert.equal(stopped.finishReason, "stop");
    assert(!stopped.text.includes("e"), stopped.text);
    return `${usage.totalTokens} model tokens, and stopped at a letter`;
  },

  async stream() {
    const whole = await generateText({ ...common, maxOutputTokens: 40 });
    const result = streamText({ ...common, maxOutputTokens: 40 });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    assert(pieces.length > 5, `${pieces.length} pieces`);
    assert.equal(pieces.join(""), whole.text);
    checkUsage(await result.usage, 40);
    assert.equal(await result.finishReason, whole.finishReason);
    return `${pieces.length} pieces that say what the whole says, with usage`;
  },

  async tools() {
    const asked = [];
    const weather = tool({
      description: "Tells the weather.", inputSchema: Weather,
      execute: async (input) => (asked.push(input), "Rain."),
    });
    const body = { ...common, tools: { weather }, toolChoice: "required", maxOutputTokens: 1500 };
    const { steps, toolCalls, finishReason } = await generateText({ ...body, stopWhen: isStepCount(2) });
    assert.equal(finishReason, "tool-calls");
    assert.equal(steps.length, 2); // what the tool said was taken back
    assert.equal(toolCalls[0].toolName, "weather");
    const named = await generateText({ ...body, toolChoice: { type: "tool", toolName: "weather" } });
    Weather.parse(named.toolCalls[0].input);
    const stream = streamText(body);
    const kinds = new Set();
    for await (const part of stream.stream) kinds.add(part.type);
    for (const kind of ["tool-input-start", "tool-input-delta", "tool-call", "tool-result"]) assert(kinds.has(kind), kind);
    asked.forEach((input) => Weather.parse(input));
    return `${asked.length} calls: required, by name, twice in a row, streamed`;
  },

  async structured() {
    const body = { ...common, output: Output.object({ schema: City, name: "city" }), maxOutputTokens: 1500 };
    City.parse((await generateText(body)).output);
    const stream = streamText(body);
    let last;
    for await (const partial of stream.partialOutputStream) last = partial;
    City.parse(last);
    City.parse(await stream.output);
    const cut = await rejection(generateText({ ...body, maxOutputTokens: 2 }).then(({ output }) => output));
    assert(NoObjectGeneratedError.isInstance(cut) || cut.name === "AI_NoOutputGeneratedError", cut.stack);
    return "whole, streamed, cut short";
  },

  async completions() {
    const { text, usage } = await generateText({
      model: main.completionModel(model), prompt: "Once upon a time", maxOutputTokens: 10, seed: 3, maxRetries,
    });
    assert(text.length > 0);
    checkUsage(usage, 10);
    return `${usage.totalTokens} model tokens`;
  },

  async embeddings() {
    const embedding = main.embeddingModel(model);
    const one = await embed({ model: embedding, value: "the first text", maxRetries });
    assert(one.embedding.length > 8 && one.embedding.every(Number.isFinite));
    assert(one.usage.tokens > 0);
    const many = await embedMany({ model: embedding, values: ["the first text", "another", "a third"], maxRetries });
    assert.equal(many.embeddings.length, 3);
    assert(many.embeddings[0].every((number, at) => Math.abs(number - one.embedding[at]) < 1e-3));
    return `${one.embedding.length} numbers, one text and three`;
  },

  async errors() {
    const cases = [
      [401, provider(trouble.url, place.wrongKey).chatModel(trouble.model)],
      [404, provider(trouble.url, trouble.key).chatModel("no-such-model")],
      ...(place.limitedKey ? [[403, provider(trouble.url, place.limitedKey).chatModel(trouble.model)]] : []),
      ...(place.emptyKey ? [[429, provider(trouble.url, place.emptyKey).chatModel(trouble.model)]] : []),
    ];
    for (const [status, model] of cases) {
      const error = await rejection(generateText({ model, prompt: "hello", maxRetries: 0 }));
      assert(APICallError.isInstance(error), error.stack);
      assert.equal(error.statusCode, status, error.message);
      assert.equal(error.data.error.message, error.message, "the server's own message is shown");
      assert.equal(error.isRetryable, status === 429);
    }
    for (const [status, retryable] of [[400, false], [429, true], [500, true]]) {
      const error = await rejection(generateText(troubled({ id: newId(), status })));
      assert(APICallError.isInstance(error), error.stack);
      assert(status < 500 ? error.statusCode === status : error.statusCode >= 500, `${error.statusCode}`);
      assert.equal(error.isRetryable, retryable);
    }
    const closed = provider("http://127.0.0.1:9/v1", "sk-none").chatModel(model);
    const unreachable = await rejection(generateText({ model: closed, prompt: "hello", maxRetries: 0 }));
    assert(APICallError.isInstance(unreachable) && unreachable.statusCode === undefined, unreachable.stack);
    return `${cases.map(([status]) => status).join(", ")} of its own, 400, 429, 500 of the upstream, and nobody there`;
  },

  async retries() {
    const start = Date.now();
    const late = await generateText({ ...troubled({ id: newId(), status: 429, times: 1, retryAfter: 1 }), maxRetries: 2 });
    assert(late.text.length > 0);
    assert(Date.now() - start >= 950, "Retry-After was not waited for");
    const given = await rejection(
      generateText({ ...troubled({ id: newId(), status: 429, retryAfter: 0.1 }), maxRetries: 1 }),
    );
    assert(RetryError.isInstance(given), given.stack);
    assert.equal(given.errors.length, 2);
    return "after Retry-After, and given up";
  },

  async streamErrors() {
    const parts = async (wanted) => {
      const kinds = [];
      const { stream } = streamText({ ...troubled({ id: newId(), ...wanted }), onError: () => {}, maxOutputTokens: 100 });
      try {
        for await (const part of stream) kinds.push(part.type);
      } catch (error) {
        // A connection that is cut is thrown; a gateway says so in the stream.
        assert(!gateway, error.stack);
        kinds.push("error");
      }
      return kinds;
    };
    assert((await parts({ status: 400 })).includes("error"));
    for (const broken of [{ dropAfter: 5 }, { garbage: true }]) {
      const kinds = await parts({ words: 20, every: 5, ...broken });
      assert(kinds.includes("text-delta") && kinds.includes("error"), `${JSON.stringify(broken)}: ${kinds}`);
    }
    return "refused, cut short, garbled: each is an error part";
  },

  async cancel() {
    const id = newId();
    const stop = new AbortController();
    const { textStream } = streamText({
      ...troubled({ id, endless: true, every: 10 }), abortSignal: stop.signal, maxOutputTokens: 4000,
    });
    let words = 0;
    for await (const _ of textStream) if (++words === 5) stop.abort();
    assert(words >= 5 && words < 50, `${words} words`);
    if (!trouble.log) return "left";
    const [entry] = await upstreamSaw(id, ([entry]) => entry.left);
    assert(entry.sent < 200, `the upstream sent ${entry.sent} words to one who had left after 5`);
    return "left after 5 words, and the upstream stopped";
  },
};

await run("ai-sdk", parts);
