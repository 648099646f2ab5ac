"""PyPI's `openai` as it comes: the newest, an older one, and the one at which litellm stops."""

import asyncio
import base64
import json
import math
import os
import struct
import time
from decimal import Decimal

import openai

from common import *  # noqa: F403

client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=RETRIES, timeout=30)
BUILT_IN = os.environ.get("EARNEST_ECHO_URL", URL), os.environ.get("EARNEST_ECHO_KEY", KEY), "echo"
ECHO = openai.OpenAI(base_url=BUILT_IN[0], api_key=BUILT_IN[1], max_retries=0, timeout=30)


def other(key=TROUBLE_KEY, **more):
    return openai.OpenAI(base_url=TROUBLE_URL, api_key=key, **{"max_retries": 0, "timeout": 30, **more})


def charged(url=URL, key=KEY):
    """What a key's channel was charged so far, in whole coins, once nothing of it is reserved."""
    if not GATEWAY:
        return Decimal(0)
    ask = urllib.request.Request(url.removesuffix("/v1") + "/earnest/balance", headers={"authorization": f"Bearer {key}"})
    for _ in range(100):
        with urllib.request.urlopen(ask) as answer:
            units = json.load(answer)["units"]
        if units["reserved"] == "0":
            return Decimal(units["charged"]).scaleb(-6)
        time.sleep(0.05)
    raise AssertionError(f"something stays reserved: {units}")


def chat():
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


def stream():
    whole = client.chat.completions.create(**SOME, max_tokens=40)
    chunks = list(client.chat.completions.create(**SOME, max_tokens=40, stream=True))
    assert all(chunk.object == "chat.completion.chunk" and chunk.usage is None for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    counted = list(client.chat.completions.create(**SOME, max_tokens=40, stream=True, stream_options={"include_usage": True}))
    assert counted[-1].choices == []
    check_usage(counted[-1].usage, 40)
    assert all(chunk.usage is None for chunk in counted[:-1])
    declined = list(client.chat.completions.create(**SOME, max_tokens=40, stream=True, stream_options={"include_usage": False}))
    assert all(chunk.usage is None and chunk.choices for chunk in declined)
    # The helper takes an answer that was cut short for an error.
    stopped = client.chat.completions.create(**SOME, max_tokens=800, stop=["e"])
    with client.chat.completions.stream(**SOME, max_tokens=800, stop=["e"]) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == stopped.choices[0].message.content
    return f"{len(chunks)} chunks, usage only when asked for, the helper agrees"


def raw_stream():
    parsed = client.chat.completions.with_raw_response.create(**SOME, max_tokens=12, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in parsed.parse() if chunk.choices)
    ask = client.chat.completions.with_streaming_response.create(**SOME, max_tokens=12, stream=True)
    with ask as raw:
        lines = b"".join(raw.iter_bytes()).split(b"\n")
    told = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    assert text == "".join(one["choices"][0]["delta"].get("content") or "" for one in told if one["choices"])
    assert lines[-3:] == [b"data: [DONE]", b"", b""], lines[-3:]
    if not GATEWAY:
        return "parsed, and byte by byte"
    [receipt] = [json.loads(line[18:]) for line in lines if line.startswith(b": earnest-receipt ")]
    charge = Decimal(json.loads(receipt["receipt"])["charge"]).scaleb(-6)
    assert 0 < charge <= Decimal(raw.headers["x-earnest-reserve"]), (charge, raw.headers["x-earnest-reserve"])
    with client.chat.completions.with_streaming_response.create(**SOME, max_tokens=12) as raw:
        whole = raw.parse()
    assert whole.choices[0].message.content == text
    assert Decimal(raw.headers["x-earnest-charge"]) == charge, "a question costs the same, streamed or not"
    return "parsed, and byte by byte; the receipt is in it, and the charge that of a JSON answer"


def in_parallel():
    # llama.cpp's server has a thread for each connection, and few: fifty wait for each other behind the echo's gateway only.
    (url, key, model), many = (BUILT_IN, 50) if GATEWAY else ((URL, KEY, MODEL), 16)

    async def all():
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=RETRIES, timeout=30) as asked:
            ask = lambda number: asked.chat.completions.with_raw_response.create(
                model=model, messages=[{"role": "user", "content": f"number {number}"}], max_tokens=4
            )
            answers = await asyncio.gather(*(ask(number) for number in range(many)))
            body = dict(model=model, messages=HELLO, seed=5, max_tokens=20, stream=True)
            pieces = [piece async for piece in await asked.chat.completions.create(**body)]
            return answers, len(pieces)

    before = charged(url, key)
    raw, pieces = asyncio.run(all())
    answers = [one.parse() for one in raw]
    assert len({answer.id for answer in answers}) == many and pieces > 3
    if not GATEWAY:
        return f"{many} at once, and a stream of {pieces} chunks"
    told = sum(Decimal(one.headers["x-earnest-charge"]) for one in raw)
    streamed = charged(url, key) - before - told
    assert 0 < streamed < told, f"{told} told of {many}, and {streamed} beyond for one"
    return f"{many} at once, and a stream of {pieces} chunks; their charges are what the balance fell by"


def tools():
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


def structured():
    parsed = client.chat.completions.parse(**SOME, response_format=City, max_tokens=1500)
    assert isinstance(parsed.choices[0].message.parsed, City)
    with client.chat.completions.stream(**SOME, response_format=City, max_tokens=1500) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, City)
    cut = lambda: client.chat.completions.parse(**SOME, response_format=City, max_tokens=2)
    rejected(openai.LengthFinishReasonError, cut)
    return "parsed, streamed and parsed, cut short"


def completions():
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=10, seed=3)
    assert answer.object == "text_completion" and isinstance(answer.choices[0].text, str)
    check_usage(answer.usage, 10)
    chunks = list(client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=10, seed=3, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == answer.choices[0].text
    return f"{answer.usage.total_tokens} model tokens, and the same streamed"


def embeddings():
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


def responses():
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


def models():
    listed = list(client.models.list())
    assert MODEL in [one.id for one in listed]
    if GATEWAY:
        assert client.models.retrieve(MODEL).id == MODEL
        check_error(rejected(openai.NotFoundError, lambda: client.models.retrieve("no-such-model")), 404, "model_not_found")
    return f"{len(listed)} listed"


def errors():
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
    # Refused before it is read: whoever is still sending hears why all the same.
    long = [{"role": "user", "content": "a" * (12 << 20)}]
    check_error(rejected(openai.AuthenticationError, lambda: say(other(WRONG_KEY), messages=long)), 401, "invalid_api_key")
    for path in ("/no-such-path", "/v1/chat/completions", "/chat/completions/"):
        sent = lambda: other().post(path, body={"model": TROUBLE, "messages": long}, cast_to=object)
        check_error(rejected(openai.NotFoundError, sent), 404)
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


def retries():
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


def idempotency():
    if not GATEWAY:
        return "a gateway's promise"
    before = charged(TROUBLE_URL, TROUBLE_KEY)
    patient = other(max_retries=4)

    def ask(who, messages, key, **more):
        headers = {"Idempotency-Key": key}
        return who.chat.completions.with_raw_response.create(model=TROUBLE, messages=messages, extra_headers=headers, **more)

    # The library tries again by itself, and so does its user.
    messages, key = wish(status=500, times=2), new_id()
    first, again = ask(patient, messages, key), ask(patient, messages, key)
    assert again.headers["x-earnest-replayed"] == "true" and again.text == first.text
    assert again.headers["x-earnest-receipt"] == first.headers["x-earnest-receipt"]
    paid = Decimal(first.headers["x-earnest-charge"])
    assert charged(TROUBLE_URL, TROUBLE_KEY) - before == paid
    # Streams: the second is told from what was kept.
    messages, key = wish(words=5), new_id()
    texts = [b"".join(ask(patient, messages, key, stream=True).http_response.iter_bytes()) for _ in range(2)]
    assert texts[0] == texts[1] and b": earnest-receipt " in texts[0]
    streamed = charged(TROUBLE_URL, TROUBLE_KEY) - before - paid
    receipt = json.loads(texts[0].split(b": earnest-receipt ")[1].split(b"\n")[0])
    assert streamed == Decimal(json.loads(receipt["receipt"])["charge"]).scaleb(-6), streamed
    # Who gives up before it is answered, and asks again.
    messages, key = wish(words=8, every=80), new_id()
    rejected(openai.APITimeoutError, lambda: ask(other(timeout=0.2), messages, key))
    late = ask(patient, messages, key)
    total = charged(TROUBLE_URL, TROUBLE_KEY) - before
    assert total == paid + streamed + Decimal(late.headers["x-earnest-charge"]), total
    return "failed and tried again, streamed, given up: one key, one answer, one charge"


def leaving():
    if not GATEWAY:
        return "what is paid is a gateway's matter"
    whole = client.chat.completions.with_raw_response.create(**SOME, max_tokens=400)
    all = Decimal(whole.headers["x-earnest-charge"])
    costs = []
    for words in (1, 20):
        before = charged()
        with client.chat.completions.create(**SOME, max_tokens=400, stream=True) as pieces:
            for number, _ in enumerate(pieces):
                if number == words:
                    break
        costs.append(charged() - before)
    assert 0 < costs[0] <= costs[1] <= all, f"{costs} of {all}"
    return f"{costs[0]} and {costs[1]} of {all}"


def cancel():
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


def broken_streams():
    def ask(**wanted):
        stream = other().chat.completions.create(model=TROUBLE, messages=wish(words=20, every=5, **wanted), stream=True, max_tokens=99)
        return sum(1 for _ in stream)

    for wanted in ({"dropAfter": 5}, {"garbage": True}):
        kind = openai.APIError if GATEWAY else Exception
        rejected(kind, lambda: ask(**wanted))
    return "cut short and garbled: neither looks like a whole answer"


run(f"openai {openai.__version__} for Python", [
    models, chat, stream, raw_stream, in_parallel, tools, structured, completions, embeddings,
    responses, errors, retries, idempotency, leaving, cancel, broken_streams,
])
