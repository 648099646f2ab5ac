"""What a real upstream makes is what is charged: a server behind the gateway, held against its own count of each generation,
to the model token, or told as an estimate. Where a provider that dialled in stated more than was counted, it was told so.

    python charged.py --api URL --key KEY --server {llama.cpp,litellm,llama-cpp-python,transformers} --lines FILE
                      [--served FILE] [--model NAME]

litellm stands before llama.cpp, whose count FILE has. `--served` is the log of the provider that the requests go through.
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


def option(name):
    return sys.argv[sys.argv.index(name) + 1]


API, KEY, SERVER, LINES = (option(name) for name in ("--api", "--key", "--server", "--lines"))
SERVED = option("--served") if "--served" in sys.argv else None
MODEL = option("--model") if "--model" in sys.argv else "noise"
HEAD = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    base = API if body is not None else API.removesuffix("/v1")
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, data, HEAD)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def leave(path, body, events):
    """Asks for a stream, and goes after so many events."""
    at = urllib.parse.urlsplit(API)
    connection = http.client.HTTPConnection(at.hostname, at.port)
    connection.request("POST", at.path + path, json.dumps(body), HEAD)
    answer = connection.getresponse()
    text = b""
    while text.count(b"\n\n") < events and (line := answer.readline()):
        text += line
    connection.sock.close()
    answer.close()
    return answer.status, text.decode()


def receipts():
    return [json.loads(signed["receipt"]) for signed in json.loads(ask("/earnest/receipts")[1])["data"]]


def lines_of(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def made():
    """What the server counted of each generation: the last that it says of it."""
    try:
        lines = lines_of(LINES)
    except FileNotFoundError:
        return []
    return list({line.get("generation", number): line for number, line in enumerate(lines)}.values())


class Silent(Exception):
    pass


def until(what):
    for _ in range(400):
        if found := what():
            return found
        time.sleep(0.05)
    raise Silent(f"{SERVER}, or the gateway, did not say what became of it")


def shown_bytes(text):
    """Of what is said and of what calls have as arguments."""
    answers = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")] or [json.loads(text)]
    size = 0
    for choice in (choice for answer in answers for choice in answer["choices"]):
        message = choice.get("message") or choice["delta"]
        size += len((message.get("content") or "").encode())
        size += sum(len((call["function"].get("arguments") or "").encode()) for call in message.get("tool_calls") or [])
    return size


failures, count = [], 0
# Model tokens that one choice and one call have beyond their text.
ROOM = 32


def told(receipt):
    """What the provider stated of a request, and what it was told where that was more than was counted."""
    lines = until(lambda: [line for line in lines_of(SERVED) if line.get("request") == receipt["id"]])
    stated, usage = lines[0]["usage"], receipt["usage"]
    if not stated or stated["prompt"] <= usage["input"] and stated["completion"] <= usage["output"]:
        return ""
    heard = lambda: [line["counted"] for line in lines_of(SERVED) if line.get("counted", {}).get("request") == receipt["id"]]
    return f"; stated {stated['prompt']} and {stated['completion']}, and the provider was told: {until(heard)[0]['why']}"


def check(name, path, body, generations=1, estimate=False, status=200, says="", left=0, room=False):
    """Asks, and holds the receipt against the lines of so many generations, of which `estimate` is told as one; or against
    a refusal that says something, for which nothing is charged. `left`: the client goes after so many events. `room`: the
    model writes more than clients are shown, and more than their bytes have room for is not charged."""
    before, had = len(made()), [receipt["id"] for receipt in receipts()[:1]]
    body = {"model": MODEL, **({} if path == RESPONSES else {"seed": 1}), **body}
    got, text = leave(path, body, left) if left else ask(path, body)
    charged = lambda: [receipt for receipt in receipts()[:1] if receipt["id"] not in had]
    if got != status or says not in text:
        failures.append(f"{name}: {got} {text[:300]}, and it is to be {status} {says}")
        return
    if status != 200:
        print(f"{name}: {status}, and nothing is charged")
        if charged():
            failures.append(f"{name}: refused, and charged {charged()[0]}")
        return
    lines = until(lambda: made()[before:] if len(made()) - before >= generations else None)
    receipt = until(charged)[0]
    usage, estimated = receipt["usage"], receipt.get("estimated", False)
    written = sum(line["completion"] for line in lines)
    # Choices of one prompt read it once.
    read = (max if "n" in body else sum)(line["prompt"] for line in lines)
    # What is cut to its room is told like an estimate.
    cut = room and not estimate and usage["output"] < written
    if room:
        written = min(written, shown_bytes(text) + ROOM)
    shown = f"{name}: charged {usage}, estimated {estimated}; {SERVER} read {read} and wrote {written}"
    if estimated != (estimate or cut):
        failures.append(shown)
    elif estimated and not cut:
        # Told, in the holder's favour, and not for nothing.
        least = 1 if left else written / 8
        if not least <= usage["output"] <= written or usage["input"] > read:
            failures.append(shown)
    elif (usage["input"], usage["output"]) != (read, written):
        failures.append(shown)
    if receipt["complete"] == bool(left) or usage["cached"] > sum(line.get("cached", 0) for line in lines):
        failures.append(f"{shown}: {receipt}, {lines}")
    print(shown + (told(receipt) if SERVED else ""), flush=True)


def kind(name, path, body, otherwise={}, **most):
    """A kind of request, and what is right with most servers, or with one that does otherwise."""
    global count
    count += 1
    try:
        check(name, path, body, **otherwise.get(SERVER, most))
    except Silent as silent:
        failures.append(f"{name}: {silent}")


CHAT, TEXT, RESPONSES = "/chat/completions", "/completions", "/responses"
HI = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
STREAM, SHOWN = {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}
PROMPTS = [f"prompt number {number}" for number in range(30)]
TOOLS = {
    "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {
        "type": "object", "properties": {"word": {"enum": ["oak", "elm"]}}, "required": ["word"]}}}],
    "tool_choice": {"type": "function", "function": {"name": "look_up"}},
}
# Without its end, so that who leaves leaves in the middle.
LONG = {**HI, "max_tokens": 3000, "logit_bias": {"270": -100.0}, **STREAM}

TWO, THIRTY = ({"generations": number, "estimate": True} for number in (2, 30))
# Never states usage in a stream, makes one choice whatever `n` is, and takes one prompt.
LCP = "llama-cpp-python"
UNSTATED, UNKNOWN = {LCP: {"estimate": True}}, {"status": 503, "says": "the provider answered"}
NO_PATH = {LCP: {"status": 404, "says": "unsupported_endpoint"}}
# Makes one choice, too, takes one prompt, and refuses fields that it does not know.
TF = "transformers"
REFUSED = {TF: {"status": 422, "says": "Unexpected"}}
ONE_PROMPT = {LCP: UNKNOWN, TF: {"status": 400, "says": "must be a string"}}

kind("chat", CHAT, HI)
kind("chat, no bound", CHAT, {"messages": HI["messages"], "stop": ["e"]})
kind("chat, streamed", CHAT, {**HI, **STREAM}, UNSTATED)
kind("chat, streamed, usage asked for", CHAT, {**HI, **SHOWN}, UNSTATED)
kind("chat, by another name", CHAT, {"messages": HI["messages"], "max_completion_tokens": 7})
kind("chat, both names", CHAT, {**HI, "max_completion_tokens": 7, "max_tokens": 5})
kind("chat, a name that few know", CHAT, {"messages": HI["messages"], "max_new_tokens": 7}, REFUSED)
kind("chat, n_predict beside", CHAT, {**HI, "max_tokens": 1, "n_predict": 40}, REFUSED)
kind("completion", TEXT, {"prompt": "once", "max_tokens": 9})
kind("completion, streamed", TEXT, {"prompt": "once", "max_tokens": 9, **STREAM}, UNSTATED)
kind("thirty prompts", TEXT, {"prompt": PROMPTS, "max_tokens": 20}, ONE_PROMPT, **THIRTY)
kind("two choices", CHAT, {**HI, "n": 2}, {LCP: {}, TF: {}}, **TWO)
kind("thirty prompts, streamed", TEXT, {"prompt": PROMPTS, "max_tokens": 20, **STREAM}, {**ONE_PROMPT, "litellm": THIRTY}, generations=30)
kind("two choices, streamed", CHAT, {**HI, "n": 2, **STREAM}, {**UNSTATED, TF: {}, "litellm": TWO}, generations=2)
kind("log-probabilities", CHAT, {**HI, "logprobs": True, "top_logprobs": 3})
kind("a tool", CHAT, {**HI, "max_tokens": 300, **TOOLS}, room=True)
kind("a tool, streamed", CHAT, {**HI, "max_tokens": 300, **TOOLS, **STREAM}, UNSTATED, room=True)
kind("responses", RESPONSES, {"input": "hi", "max_output_tokens": 20}, NO_PATH)
check("chat, again", CHAT, HI)
kind("responses, 4", RESPONSES, {"input": "hi", "max_output_tokens": 4}, NO_PATH)
check("chat, again", CHAT, HI)
kind("responses, streamed", RESPONSES, {"input": "hi", "max_output_tokens": 20, **STREAM}, NO_PATH)
kind("cached", CHAT, {**HI, **({"cache_prompt": True} if SERVER in ("llama.cpp", "litellm") else {})})
kind("left in the middle", CHAT, LONG, estimate=True, left=9)
kind("no bound that is one", CHAT, {**HI, "max_tokens": 0}, status=400, says="max_tokens")
kind("options", CHAT, {**HI, "options": {"num_predict": 2000}}, status=400, says="options")
kind("extra_body", CHAT, {**HI, "extra_body": {"n_predict": 2000}}, status=400, says="extra_body")
kind("generation_config", CHAT, {**HI, "generation_config": '{"max_new_tokens": 2000}'}, status=400, says="generation_config")
kind("a conversation that is kept", RESPONSES, {"input": "hi", "previous_response_id": "r"}, status=400, says="previous_response_id")

print(f"{count} kinds of request")
if failures:
    raise SystemExit("\n".join(failures))
