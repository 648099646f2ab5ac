"""PyPI's `litellm` and `langchain-openai` as they come, which ask with `openai`."""

import asyncio
import math
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it waits for a network first

import litellm
import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI as CompletionOpenAI, OpenAIEmbeddings

from common import *  # noqa: F403

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


run("litellm and langchain", [
    litellm_chat, litellm_tools, litellm_embeddings, litellm_errors,
    langchain_chat, langchain_tools, langchain_embeddings, langchain_errors,
])
