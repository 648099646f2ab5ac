"""A real upstream: llama.cpp's own OpenAI server, from the wheel of xllamacpp, on tiny.py's noise or on any other GGUF.
One thread; nothing is kept of the last request, so that a seed says the same again, unless others are computed in one
batch with it. With `"cache_prompt": true` a request may have cached model tokens.

    python serve.py [--port PORT] [--model FILE.gguf] [--name NAME] [--key KEY] [--log FILE] [--slots N] [--lines FILE]

Prints `upstream http://127.0.0.1:PORT/v1 NAME` when it answers, and stops with SIGTERM or SIGINT. `--log` takes what
llama.cpp says; `--lines` takes one JSON object for each generation, with what llama.cpp itself counted: the model tokens
of its prompt, those of them that it knew from before, those it made, and whether its client left. With `n` above 1 each
choice is one, the first with the prompt; of an embedding only its being there is known.
"""

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import threading
from pathlib import Path

import xllamacpp

import tiny


def arguments():
    parser = argparse.ArgumentParser(description="llama.cpp's OpenAI server on a tiny model of noise")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--model", type=Path, help="a GGUF; without it, noise")
    parser.add_argument("--name", default="noise", help="what the model is called")
    parser.add_argument("--key", help="API key that clients must show")
    parser.add_argument("--log", default=os.devnull, help="what llama.cpp says")
    parser.add_argument("--lines", help="a line of JSON for each generation")
    parser.add_argument("--slots", type=int, default=4, help="generations at a time")
    parser.add_argument("--context", type=int, default=4096, help="model tokens of each")
    return parser.parse_args()


# llama.cpp's own words, of its log at the level that has them.
PROMPT = re.compile(rb"task (\d+) \| new prompt, .*task\.n_tokens = (\d+)")
CACHED = re.compile(rb"task (\d+) \| cached n_tokens = (\d+)")
TIMED = re.compile(rb"task (\d+) \| +eval time = .*? / +(\d+) tokens")
CANCELLED = re.compile(rb"cancel task, id_task = (\d+)")
RELEASED = re.compile(rb"task (\d+) \| stop processing: n_tokens = (\d+)")


def account(pipe, log, lines):
    """Follows llama.cpp's log and writes what it says of each generation."""
    prompts, cached, timed, left = {}, {}, {}, set()
    for line in pipe:
        log.write(line)
        log.flush()
        if lines is None:
            continue
        for found, kept in ((PROMPT, prompts), (CACHED, cached), (TIMED, timed)):
            if match := found.search(line):
                kept[int(match[1])] = int(match[2])
        if match := CANCELLED.search(line):
            left.add(int(match[1]))
        if match := RELEASED.search(line):
            task, held = int(match[1]), int(match[2])
            prompt = prompts.pop(task, 0)
            record = {
                "task": task, "prompt": prompt, "cached": cached.pop(task, 0),
                "completion": timed.pop(task, max(0, held - prompt)), "left": task in left,
            }
            left.discard(task)
            lines.write(json.dumps(record) + "\n")
            lines.flush()


def parameters(options, path):
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {options.name}
    params.port = options.port
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_parallel = options.slots
    params.cache_prompt = False
    params.n_ctx = options.slots * options.context
    params.embedding = True  # chat works beside it
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.kv_unified = True  # or texts of different lengths are split, and each mean is over a part
    params.use_jinja = True
    params.endpoint_metrics = True
    params.warmup = False
    params.verbosity = 4  # one more, and its debug lines fail at invalid UTF-8, and the request with them
    if options.key:
        params.api_keys = [options.key]
    return params


def main():
    options = arguments()
    path = options.model
    if path is None:
        path = Path(tempfile.mkstemp(prefix="earnest-noise-", suffix=".gguf")[1])
        tiny.write(path)
    # llama.cpp writes to the process's own stderr, below Python's.
    ours = os.dup(2)
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    lines = open(options.lines, "a") if options.lines else None
    follow = (os.fdopen(read, "rb"), open(options.log, "ab"), lines)
    threading.Thread(target=account, args=follow, daemon=True).start()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = xllamacpp.Server(parameters(options, path))
    except RuntimeError as error:
        os.dup2(ours, 2)
        sys.exit(f"llama.cpp does not serve {path}: {error}")
    if options.model is None:
        path.unlink()  # llama.cpp keeps it open
    print(f"upstream {server.listening_address}/v1 {options.name}", flush=True)
    stop.wait()
    os._exit(0)  # streams that are still going would keep llama.cpp from ending


if __name__ == "__main__":
    main()
