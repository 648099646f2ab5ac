"""What the suites in Python share, as common.mjs for those in Node: what is set in the environment, and what the options
mean, is told there.

    python SUITE.py [--against upstream|gateway] [--only PART,PART]
"""

import json
import os
import sys
import time
import traceback
import urllib.request
from typing import Literal

import openai
from pydantic import BaseModel, ConfigDict

if int(openai.__version__.split(".")[0]) < 3:
    import httpx
else:
    import httpx2 as httpx  # what it asks with from version 3 on


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


def run(client, parts):
    """Runs the parts one after the other; each says what it checked, and no failure hides another."""
    only = option("--only", "").split(",")
    checked, failed = 0, []
    for part in parts:
        if only != [""] and part.__name__ not in only:
            continue
        try:
            start = time.monotonic()
            print(f"{client}: {part.__name__}: {part()} ({time.monotonic() - start:.1f} s)", flush=True)
            checked += 1
        except Exception:
            failed.append(part.__name__)
            print(f"{client}: {part.__name__}: FAILED: {traceback.format_exc()}", file=sys.stderr, flush=True)
    print(json.dumps({"client": client, "against": "gateway" if GATEWAY else "upstream", "checked": checked, "failed": failed}))
    sys.exit(1 if failed or not checked else 0)
