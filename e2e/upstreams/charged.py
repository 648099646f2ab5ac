"""What a real upstream makes is what is charged: llama.cpp's server behind the gateway, held against llama.cpp's own count of
each generation, to the model token, or told as an estimate. With `--proxy` LiteLLM's proxy stands between them. Without
`--lines`, before another server, a receipt is held against what the answer itself states.

    python charged.py --api URL --key KEY [--lines FILE] [--proxy] [--model NAME]
"""

import json
import sys
import time
import urllib.error
import urllib.request


def option(name):
    return sys.argv[sys.argv.index(name) + 1]


API, KEY = option("--api"), option("--key")
LINES = option("--lines") if "--lines" in sys.argv else None
PROXY = "--proxy" in sys.argv
MODEL = option("--model") if "--model" in sys.argv else "noise"


def ask(path, body=None):
    head = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    base = API if body is not None else API.removesuffix("/v1")
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, data, head)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def receipts():
    return [json.loads(signed["receipt"]) for signed in json.loads(ask("/earnest/receipts")[1])["data"]]


def made():
    if LINES is None:
        return []
    with open(LINES) as file:
        return [json.loads(line) for line in file]


def until(what):
    for _ in range(200):
        if found := what():
            return found
        time.sleep(0.05)
    raise SystemExit("llama.cpp, or the gateway, did not say what became of it")


failures, count = [], 0


def check(name, path, body, generations=1, estimate=False, refused=None, reads=None):
    """Asks, and holds the receipt against `generations` lines of llama.cpp's."""
    global count
    count += 1
    before, had = len(made()), len(receipts())
    status, text = ask(path, {"model": MODEL, "seed": 1, **body} if not PROXY else {"model": MODEL, **body})
    if refused:
        if status != 400 or refused not in text:
            failures.append(f"{name}: {status} {text[:200]}, and it is to be refused for {refused}")
        return
    if status != 200:
        failures.append(f"{name}: {status} {text[:300]}")
        return
    lines = LINES and until(lambda: made()[before:] if len(made()) - before >= generations else None)
    receipt = until(lambda: receipts()[0] if len(receipts()) > had else None)
    usage, estimated = receipt["usage"], receipt.get("estimated", False)
    if lines is None:
        told = json.loads(text)["usage"] if not body.get("stream") else None
        read = told and told.get("prompt_tokens", told.get("input_tokens"))
        wrote = told and told.get("completion_tokens", told.get("output_tokens"))
        print(f"{name}: charged {usage}, estimated {estimated}, complete {receipt['complete']}; told {read} and {wrote}")
        if told and not estimated and (usage["input"], usage["output"]) != (read, wrote) or not receipt["complete"]:
            failures.append(f"{name}: {receipt} for {text[:300]}")
        return
    written = sum(line["completion"] for line in lines)
    read = reads or sum(line["prompt"] for line in lines)
    shown = f"charged {usage}, estimated {estimated}; llama.cpp read {read} and wrote {written}"
    if estimated:
        # Told, in the holder's favour, and not for nothing.
        if not estimate or not written / 8 <= usage["output"] <= written * 1.4 + 2 or usage["input"] > read * 1.4 + 2:
            failures.append(f"{name}: {shown}")
    elif (usage["input"], usage["output"]) != (read, written):
        failures.append(f"{name}: {shown}")
    print(f"{name}: {shown}")


CHAT = {"messages": [{"role": "user", "content": "hi"}]}
STREAM = {"stream": True}
SHOWN = {"stream": True, "stream_options": {"include_usage": True}}
PROMPTS = [f"prompt number {number}" for number in range(30)]

check("chat", "/chat/completions", {**CHAT, "max_tokens": 9})
check("chat, no bound", "/chat/completions", {**CHAT, "stop": ["e"]})
check("chat, streamed", "/chat/completions", {**CHAT, "max_tokens": 9, **STREAM})
check("chat, streamed, usage asked for", "/chat/completions", {**CHAT, "max_tokens": 9, **SHOWN})
check("chat, by another name", "/chat/completions", {**CHAT, "max_completion_tokens": 7})
check("chat, both names", "/chat/completions", {**CHAT, "max_completion_tokens": 7, "max_tokens": 5})
check("completion", "/completions", {"prompt": "once", "max_tokens": 9})
check("completion, streamed", "/completions", {"prompt": "once", "max_tokens": 9, **STREAM})
check("bounds of other names", "/chat/completions", {**CHAT, "max_tokens": 0}, refused="max_tokens")
check("options", "/chat/completions", {**CHAT, "options": {"num_predict": 2000}}, refused="options")
check("extra_body", "/chat/completions", {**CHAT, "extra_body": {"n_predict": 2000}}, refused="extra_body")
check("a conversation that is kept", "/responses", {"input": "hi", "previous_response_id": "r"}, refused="previous_response_id")
if LINES is None:
    check("responses", "/responses", {"input": "hi", "max_output_tokens": 20})
    check("responses, streamed", "/responses", {"input": "hi", "max_output_tokens": 20, **STREAM})
elif PROXY:
    check("responses, 4 made 16", "/responses", {"input": "hi", "max_output_tokens": 4})
    check("two choices, streamed", "/chat/completions", {**CHAT, "n": 2, "max_tokens": 5, **STREAM}, 2, True)
else:
    check("chat, n_predict beside", "/chat/completions", {**CHAT, "max_tokens": 1, "n_predict": 40})
    check("two choices", "/chat/completions", {**CHAT, "n": 2, "max_tokens": 5}, 2, True, reads=19)
    check("two choices, streamed", "/chat/completions", {**CHAT, "n": 2, "max_tokens": 5, **STREAM}, 2, True, reads=19)
    check("thirty prompts", "/completions", {"prompt": PROMPTS, "max_tokens": 20}, 30, True)
    check("thirty prompts, streamed", "/completions", {"prompt": PROMPTS, "max_tokens": 20, **STREAM}, 30, True)
    check("log-probabilities", "/chat/completions", {**CHAT, "max_tokens": 9, "logprobs": True, "top_logprobs": 3})
    check("responses", "/responses", {"input": "hi", "max_output_tokens": 20})
    check("responses, streamed", "/responses", {"input": "hi", "max_output_tokens": 20, **STREAM})
    check("cached", "/chat/completions", {**CHAT, "max_tokens": 5, "cache_prompt": True})

print(f"{count} kinds of request")
if failures:
    raise SystemExit("\n".join(failures))
