"""PyPI's `openai`, `litellm` and `langchain-openai` as they come. What is set in the environment, and what the options
mean, is told in common.mjs.

    python python.py [--against upstream|gateway] [--only PART,PART]
"""

import asyncio
import base64
import json
import math
import os
import struct
import sys
import time
import traceback
import urllib.request

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it waits for a network first

import httpx
import litellm
import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI as CompletionOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, ConfigDict
from typing import Literal


def option(name, default=None):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


GATEWAY = option("--against", "upstream") == "gateway"
URL = os.environ["EARNEST_BASE_URL"]
KEY = os.environ.get("EARNEST_API_KEY", "sk-none")
MODEL = os.environ.get("EARNEST_MODEL", "noise")
TROUBLE_URL = os.environ["EARNEST_TROUBLE_URL"]
TROUBLE_KEY = os.environ.get("EARNEST_TROUBLE_KEY", KEY)
TROUBLE_LOG = os.environ.get("EARNEST_TROUBLE_LOG")
TROUBLE = "trouble"
WRONG_KEY = os.environ.get("EARNEST_WRONG_KEY", "sk-earnest-" + "A" * 43 if GATEWAY else "sk-wrong")
LIMITED_KEY = os.environ.get("EARNEST_LIMITED_KEY", None if GATEWAY else "sk-limited")
EMPTY_KEY = os.environ.get("EARNEST_EMPTY_KEY")
# llama.cpp now and then closes a connection that was about to be used again.
RETRIES = 0 if GATEWAY else 2

if wire := os.environ.get("EARNEST_WIRE"):
    plain, plain_async = httpx.Client.send, httpx.AsyncClient.send

    def tell(request, answer):
        try:
            asked = request.content.decode()
        except (httpx.RequestNotRead, UnicodeDecodeError):
            asked = None
        line = {"url": str(request.url), "method": request.method, "status": answer.status_code, "asked": asked or None, "answered": None}
        with open(wire, "a") as file:
            file.write(json.dumps(line) + "\n")
        return answer

    async def send_async(self, request, **more):
        return tell(request, await plain_async(self, request, **more))

    httpx.Client.send = lambda self, request, **more: tell(request, plain(self, request, **more))
    httpx.AsyncClient.send = send_async

HELLO = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Say something."}]
SOME = {"model": MODEL, "messages": HELLO, "seed": 5}

client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=RETRIES, timeout=30)
ECHO = openai.OpenAI(
    base_url=os.environ.get("EARNEST_ECHO_URL", URL), api_key=os.environ.get("EARNEST_ECHO_KEY", KEY), max_retries=0, timeout=30
)


def other(key=TROUBLE_KEY, **more):
    return openai.OpenAI(base_url=TROUBLE_URL, api_key=key, **{"max_retries": 0, "timeout": 30, **more})


class City(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Literal["Oslo", "Rome"]
    coast: bool


class Weather(BaseModel):
    """Tells the weather."""

    model_config = ConfigDict(extra="forbid")
    city: Literal["Oslo", "Rome"]
    celsius: bool


TOOL = {"type": "function", "function": {"name": "Weather", "parameters": Weather.model_json_schema()}}
fresh = iter(range(10**9))


def new_id():
    return f"py-{os.getpid()}-{time.time_ns()}-{next(fresh)}"


def wish(**wanted):
    return [{"role": "user", "content": json.dumps({"id": new_id(), **wanted})}]


def upstream_saw(id, until=lambda entries: True):
    for _ in range(100):
        with urllib.request.urlopen(TROUBLE_LOG) as answer:
            entries = [entry for entry in json.load(answer) if entry.get("id") == id]
        if entries and until(entries):
            return entries
        time.sleep(0.05)
    raise AssertionError(f"the upstream did not say so of {id} within 5 seconds")


def rejected(kind, call):
    try:
        value = call()
    except kind as error:
        return error
    raise AssertionError(f"it went through: {value!r:.300}")


def check_usage(usage, most):
    assert usage.prompt_tokens > 0, usage
    assert 0 <= usage.completion_tokens <= most, f"{usage}, at most {most}"
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage


def check_error(error, status, code=None):
    assert error.status_code == status, error
    assert set(error.body) >= {"message", "type", "param", "code"}, error.body
    assert isinstance(error.body["message"], str) and error.body["message"], error.body
    if code:
        assert error.code == code, error.body


# --- openai ---


def openai_chat():
    raw = client.chat.completions.with_raw_response.create(**SOME, max_tokens=12)
    answer = raw.parse()
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert abs(answer.created - time.time()) < 120
    [choice] = answer.choices
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    check_usage(answer.usage, 12)
    if GATEWAY:
        assert answer._request_id == raw.headers["x-request-id"]
        assert float(raw.headers["x-earnest-charge"]) > 0
        json.loads(base64.b64decode(raw.headers["x-earnest-receipt"]))
    probable = client.chat.completions.create(**SOME, max_tokens=6, logprobs=True, top_logprobs=2)
    for one in probable.choices[0].logprobs.content:
        assert one.logprob <= 0 and len(one.top_logprobs) == 2
    several = client.chat.completions.create(**SOME, max_tokens=4, n=2)
    assert [choice.index for choice in several.choices] == [0, 1]
    stopped = client.chat.completions.create(**SOME, max_tokens=800, stop=["e"])
    assert stopped.choices[0].finish_reason == "stop" and "e" not in stopped.choices[0].message.content
    again = client.chat.completions.create(**SOME, max_tokens=12, extra_body={"some_field_of_tomorrow": [1]})
    assert again.choices[0].message.content == choice.message.content
    return f"{answer.usage.total_tokens} model tokens; logprobs, n, stop, seed, unknown fields"


def openai_stream():
    whole = client.chat.completions.create(**SOME, max_tokens=40)
    chunks = list(client.chat.completions.create(**SOME, max_tokens=40, stream=True))
    assert all(chunk.object == "chat.completion.chunk" and chunk.usage is None for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    counted = list(client.chat.completions.create(**SOME, max_tokens=40, stream=True, stream_options={"include_usage": True}))
    assert counted[-1].choices == []
    check_usage(counted[-1].usage, 40)
    # The helper takes an answer that was cut short for an error.
    stopped = client.chat.completions.create(**SOME, max_tokens=800, stop=["e"])
    with client.chat.completions.stream(**SOME, max_tokens=800, stop=["e"]) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == stopped.choices[0].message.content
    return f"{len(chunks)} chunks, usage only when asked for, the helper agrees"


def openai_async():
    async def all():
        async with openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=RETRIES, timeout=30) as many:
            ask = lambda number: many.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": f"number {number}"}], max_tokens=4
            )
            answers = await asyncio.gather(*(ask(number) for number in range(16)))
            pieces = 0
            async for _ in await many.chat.completions.create(**SOME, max_tokens=20, stream=True):
                pieces += 1
            return answers, pieces

    answers, pieces = asyncio.run(all())
    assert len({answer.id for answer in answers}) == 16 and pieces > 3
    return f"16 at once, and a stream of {pieces} chunks"


def openai_tools():
    body = dict(**SOME, tools=[TOOL], max_tokens=1500)
    for choice in ("required", {"type": "function", "function": {"name": "Weather"}}):
        answer = client.chat.completions.create(**body, tool_choice=choice)
        assert answer.choices[0].finish_reason == "tool_calls"
        [call] = answer.choices[0].message.tool_calls
        Weather.model_validate_json(call.function.arguments)
        told = [*HELLO, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "Rain."}]
        client.chat.completions.create(model=MODEL, messages=told, tools=[TOOL], tool_choice="none", max_tokens=3)
    parsed = client.chat.completions.parse(
        **SOME, tools=[openai.pydantic_function_tool(Weather)], tool_choice="required", max_tokens=1500
    )
    assert isinstance(parsed.choices[0].message.tool_calls[0].function.parsed_arguments, Weather)
    pieces = [
        call
        for chunk in client.chat.completions.create(**body, tool_choice="required", stream=True)
        if chunk.choices
        for call in chunk.choices[0].delta.tool_calls or []
    ]
    assert pieces[0].id and pieces[0].function.name == "Weather" and all(piece.index == 0 for piece in pieces)
    Weather.model_validate_json("".join(piece.function.arguments or "" for piece in pieces))
    return f"required, by name, parsed, streamed in {len(pieces)} pieces; results are taken back"


def openai_structured():
    parsed = client.chat.completions.parse(**SOME, response_format=City, max_tokens=1500)
    assert isinstance(parsed.choices[0].message.parsed, City)
    with client.chat.completions.stream(**SOME, response_format=City, max_tokens=1500) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, City)
    cut = lambda: client.chat.completions.parse(**SOME, response_format=City, max_tokens=2)
    rejected(openai.LengthFinishReasonError, cut)
    return "parsed, streamed and parsed, cut short"


def openai_completions():
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=10, seed=3)
    assert answer.object == "text_completion" and isinstance(answer.choices[0].text, str)
    check_usage(answer.usage, 10)
    chunks = list(client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=10, seed=3, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == answer.choices[0].text
    return f"{answer.usage.total_tokens} model tokens, and the same streamed"


def openai_embeddings():
    texts = ["the first text", "another"]
    decoded = client.embeddings.create(model=MODEL, input=texts)  # asks for base64 and decodes
    floats = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=MODEL, input=texts, encoding_format="base64")
    for index, (one, two, three) in enumerate(zip(decoded.data, floats.data, packed.data)):
        assert one.index == index
        data = base64.b64decode(three.embedding)
        unpacked = struct.unpack(f"<{len(data) // 4}f", data)
        for left, right, third in zip(one.embedding, two.embedding, unpacked, strict=True):
            assert math.isclose(left, right, abs_tol=1e-3) and math.isclose(left, third, abs_tol=1e-3)
    assert decoded.usage.total_tokens == decoded.usage.prompt_tokens > 0
    return f"{len(decoded.data[0].embedding)} numbers, as floats and as base64"


def openai_responses():
    # What llama.cpp leaves out of its events the helpers miss: behind a gateway the echo answers in its place.
    asked, model = (ECHO, "echo") if GATEWAY else (client, MODEL)
    body = dict(model=model, input="Say something.", instructions="You are terse.", max_output_tokens=12)
    answer = asked.responses.create(**body)
    assert answer.object == "response" and answer.status in ("completed", "incomplete")
    assert isinstance(answer.output_text, str)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    events = list(asked.responses.create(**body, stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    if not GATEWAY:
        return f"created, and {len(events)} events streamed"
    with asked.responses.stream(**body) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_text, str)
    parsed = asked.responses.parse(model=model, input="Name a city.", text_format=City, max_output_tokens=1500)
    assert isinstance(parsed.output_parsed, City)
    return f"created, {len(events)} events streamed, the helper agrees, parsed"


def openai_models():
    listed = list(client.models.list())
    assert MODEL in [one.id for one in listed]
    if GATEWAY:
        assert client.models.retrieve(MODEL).id == MODEL
        check_error(rejected(openai.NotFoundError, lambda: client.models.retrieve("no-such-model")), 404, "model_not_found")
    return f"{len(listed)} listed"


def openai_errors():
    say = lambda who, **more: who.chat.completions.create(**{"model": TROUBLE, "messages": HELLO, **more})
    check_error(rejected(openai.AuthenticationError, lambda: say(other(WRONG_KEY))), 401, "invalid_api_key")
    check_error(rejected(openai.NotFoundError, lambda: say(other(), model="no-such-model")), 404, "model_not_found")
    check_error(rejected(openai.NotFoundError, lambda: other().get("/no-such-path", cast_to=object)), 404)
    check_error(rejected(openai.BadRequestError, lambda: say(other(), messages="none")), 400)
    told = ["401, 404, 400"]
    if LIMITED_KEY:
        check_error(rejected(openai.PermissionDeniedError, lambda: say(other(LIMITED_KEY))), 403)
        told.append("403")
    if EMPTY_KEY:
        check_error(rejected(openai.RateLimitError, lambda: say(other(EMPTY_KEY))), 429, "insufficient_quota")
        told.append("429 for want of budget")
    large = [{"role": "user", "content": "a" * (40 << 20)}]
    check_error(rejected(openai.APIStatusError, lambda: say(other(), messages=large)), 413)
    for status in (500, 503):
        error = rejected(openai.InternalServerError, lambda: say(other(), messages=wish(status=status)))
        check_error(error, error.status_code)
    limited = rejected(openai.RateLimitError, lambda: say(other(), messages=wish(status=429, retryAfter=1)))
    check_error(limited, 429)
    assert float(limited.response.headers["retry-after"]) > 0
    odd = rejected(openai.APIStatusError, lambda: say(other(), messages=wish(status=422)))
    assert odd.status_code in (400, 422) if GATEWAY else isinstance(odd, openai.UnprocessableEntityError)
    closed = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="sk-none", max_retries=0)
    rejected(openai.APIConnectionError, lambda: closed.models.list())
    rejected(openai.APITimeoutError, lambda: say(other(timeout=0.4), messages=wish(silent=True)))
    return f"{', '.join(told)}, 413, 500, 503, 429 with Retry-After, 422, nobody there, too late"


def openai_retries():
    attempts = []
    counting = httpx.Client(event_hooks={"response": [lambda response: attempts.append(response.status_code)]})
    patient = other(max_retries=3, http_client=counting)
    start = time.monotonic()
    patient.chat.completions.create(model=TROUBLE, messages=wish(status=429, times=1, retryAfter=1))
    assert time.monotonic() - start >= 0.95, "Retry-After was not waited for"
    patient.chat.completions.create(model=TROUBLE, messages=wish(status=500, times=2))
    before = len(attempts)
    rejected(openai.BadRequestError, lambda: patient.chat.completions.create(model=TROUBLE, messages=wish(status=400)))
    assert len(attempts) == before + 1, "400 is not tried again"
    return f"{attempts}"


def openai_cancel():
    messages = wish(endless=True, every=10)
    stream = other().chat.completions.create(model=TROUBLE, messages=messages, stream=True, max_tokens=4000)
    for words, _ in enumerate(stream):
        if words == 5:
            break
    stream.close()
    if TROUBLE_LOG:
        [entry] = upstream_saw(json.loads(messages[0]["content"])["id"], lambda entries: entries[0]["left"])
        assert entry["sent"] < 200, f"the upstream sent {entry['sent']} words to one who had left after 5"

    async def cancelled():
        async with openai.AsyncOpenAI(base_url=TROUBLE_URL, api_key=TROUBLE_KEY, max_retries=0) as many:
            asked = many.chat.completions.create(model=TROUBLE, messages=wish(silent=True))
            try:
                await asyncio.wait_for(asked, 0.3)
            except asyncio.TimeoutError:
                return
            raise AssertionError("it answered")

    asyncio.run(cancelled())
    client.chat.completions.create(**SOME, max_tokens=3)
    return "closed in mid-stream, cancelled before an answer; the next request is served"


def openai_broken_streams():
    def ask(**wanted):
        stream = other().chat.completions.create(model=TROUBLE, messages=wish(words=20, every=5, **wanted), stream=True, max_tokens=99)
        return sum(1 for _ in stream)

    for wanted in ({"dropAfter": 5}, {"garbage": True}):
        kind = openai.APIError if GATEWAY else Exception
        rejected(kind, lambda: ask(**wanted))
    return "cut short and garbled: neither looks like a whole answer"


# --- litellm ---

LITE = {"model": f"openai/{MODEL}", "api_base": URL, "api_key": KEY, "num_retries": 0, "max_retries": RETRIES}
LITE_TROUBLE = {"model": f"openai/{TROUBLE}", "api_base": TROUBLE_URL, "api_key": TROUBLE_KEY, "num_retries": 0, "max_retries": 0}


def litellm_chat():
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    answer = litellm.completion(**LITE, messages=HELLO, seed=5, max_tokens=12)
    check_usage(answer.usage, 12)
    assert answer.choices[0].finish_reason in ("stop", "length")
    stream = litellm.completion(**LITE, messages=HELLO, seed=5, max_tokens=12, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == answer.choices[0].message.content, f"{text!r}, {answer.choices[0].message.content!r}"
    usage = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    check_usage(usage[-1], 12)
    many = asyncio.run(litellm.acompletion(**LITE, messages=HELLO, seed=5, max_tokens=12))
    assert many.choices[0].message.content == text
    return f"{answer.usage.total_tokens} model tokens, the same streamed and awaited"


def litellm_tools():
    answer = litellm.completion(**LITE, messages=HELLO, seed=5, max_tokens=1500, tools=[TOOL], tool_choice="required")
    [call] = answer.choices[0].message.tool_calls
    Weather.model_validate_json(call.function.arguments)
    shape = litellm.completion(**LITE, messages=HELLO, seed=5, max_tokens=1500, response_format=City)
    City.model_validate_json(shape.choices[0].message.content)
    return "a tool and a structure"


def litellm_embeddings():
    answer = litellm.embedding(**LITE, input=["the first text", "another"], encoding_format="float")
    assert len(answer.data) == 2 and len(answer.data[0]["embedding"]) > 8
    return f"{len(answer.data[0]['embedding'])} numbers"


def litellm_errors():
    ask = lambda **more: litellm.completion(**{**LITE_TROUBLE, "messages": HELLO, **more})
    rejected(litellm.AuthenticationError, lambda: ask(api_key=WRONG_KEY))
    rejected(litellm.NotFoundError, lambda: ask(model="openai/no-such-model"))
    rejected(litellm.BadRequestError, lambda: ask(messages=wish(status=400)))
    rejected(litellm.RateLimitError, lambda: ask(messages=wish(status=429)))
    failures = (litellm.InternalServerError, litellm.ServiceUnavailableError, litellm.BadGatewayError)
    rejected(failures, lambda: ask(messages=wish(status=503)))
    rejected(litellm.Timeout, lambda: ask(messages=wish(silent=True), timeout=0.4))
    if LIMITED_KEY:
        forbidden = rejected(litellm.APIError, lambda: ask(api_key=LIMITED_KEY))
        assert forbidden.status_code == 403, forbidden
    if EMPTY_KEY:
        rejected(litellm.RateLimitError, lambda: ask(api_key=EMPTY_KEY))
    tried = ask(messages=wish(status=500, times=1), num_retries=2)
    assert tried.choices[0].message.content
    return "401, 404, 400, 429, 503, too late, tried again"


# --- langchain ---


def chain(**more):
    return ChatOpenAI(**{"model": MODEL, "base_url": URL, "api_key": KEY, "max_retries": RETRIES, "seed": 5, "timeout": 30, **more})


MESSAGES = [SystemMessage("You are terse."), HumanMessage("Say something.")]


def langchain_chat():
    answer = chain(max_tokens=12).invoke(MESSAGES)
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] and usage["output_tokens"] <= 12
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    chunks = list(chain(max_tokens=12, stream_usage=True).stream(MESSAGES))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == answer.content
    assert whole.usage_metadata["total_tokens"] == usage["total_tokens"]
    batch = chain(max_tokens=4).batch(["one", "two", "three"])
    assert len(batch) == 3
    waited = asyncio.run(chain(max_tokens=12).ainvoke(MESSAGES))
    assert waited.content == answer.content
    text = CompletionOpenAI(model=MODEL, base_url=URL, api_key=KEY, max_tokens=5, max_retries=RETRIES).invoke("Once")
    assert isinstance(text, str)
    return f"{usage['total_tokens']} model tokens, streamed in {len(chunks)}, in a batch, awaited, completed"


def langchain_tools():
    bound = chain(max_tokens=1500).bind_tools([Weather], tool_choice="required")
    answer = bound.invoke(MESSAGES)
    [call] = answer.tool_calls
    Weather.model_validate(call["args"])
    chain(max_tokens=3).bind_tools([Weather], tool_choice="none").invoke([*MESSAGES, answer, ToolMessage("Rain.", tool_call_id=call["id"])])
    whole = None
    for chunk in bound.stream(MESSAGES):
        whole = chunk if whole is None else whole + chunk
    Weather.model_validate(whole.tool_calls[0]["args"])
    for method in ("json_schema", "function_calling"):
        assert isinstance(chain(max_tokens=1500).with_structured_output(City, method=method).invoke(MESSAGES), City)
    return "a tool, streamed, its result taken back; structures by schema and by function"


def langchain_embeddings():
    # Texts as texts: otherwise it counts model tokens itself, with a tokenizer that it would have to download.
    embed = OpenAIEmbeddings(model=MODEL, base_url=URL, api_key=KEY, check_embedding_ctx_length=False, max_retries=RETRIES)
    many = embed.embed_documents(["the first text", "another"])
    one = embed.embed_query("the first text")
    assert len(many) == 2 and all(math.isclose(*pair, abs_tol=1e-3) for pair in zip(many[0], one, strict=True))
    return f"{len(one)} numbers"


def langchain_errors():
    ask = lambda wanted=None, **more: chain(**{"model": TROUBLE, "base_url": TROUBLE_URL, "api_key": TROUBLE_KEY, "max_retries": 0, **more}).invoke(
        [HumanMessage(wish(**wanted)[0]["content"] if wanted else "hello")]
    )
    rejected(openai.AuthenticationError, lambda: ask(api_key=WRONG_KEY))
    rejected(openai.NotFoundError, lambda: ask(model="no-such-model"))
    rejected(openai.RateLimitError, lambda: ask({"status": 429}))
    rejected(openai.InternalServerError, lambda: ask({"status": 500}))
    assert ask({"status": 429, "times": 1, "retryAfter": 1}, max_retries=2).content
    return "401, 404, 429, 500, tried again"


def main():
    parts = [part for name, part in list(globals().items()) if name.split("_")[0] in ("openai", "litellm", "langchain") and callable(part)]
    only = option("--only", "").split(",")
    checked, failed = 0, []
    for part in parts:
        if only != [""] and part.__name__ not in only:
            continue
        try:
            print(f"python: {part.__name__.replace('_', ' ', 1)}: {part()}", flush=True)
            checked += 1
        except Exception:
            failed.append(part.__name__)
            print(f"python: {part.__name__}: FAILED: {traceback.format_exc()}", file=sys.stderr, flush=True)
    print(json.dumps({"client": "python", "against": "gateway" if GATEWAY else "upstream", "checked": checked, "failed": failed}))
    sys.exit(1 if failed or not checked else 0)


if __name__ == "__main__":
    main()
