#!/usr/bin/env bash
# llama.cpp's own server: asked for two choices, or for three prompts, in one JSON answer, it states the usage of the first
# alone. A stream of the same states it for each. Whoever bills by `usage` loses all but the first.
#
# The model is random numbers in the shape of Qwen2, made here: it writes small letters only, each one a model token, so that
# the letters of an answer are the model tokens of it. Needs Python 3.11 or later and some 210 MB in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cat > "$folder/look.py" <<'PYTHON'
import json, os, sys, urllib.request
from importlib.metadata import version

import gguf
import numpy
import xllamacpp

folder = sys.argv[1]
WIDTH, HEADS, KV_HEADS, LAYERS = 64, 4, 2, 2
seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
hidden = [byte for byte in range(256) if byte not in seen]
letters = {byte: chr(byte) for byte in seen} | {byte: chr(256 + at) for at, byte in enumerate(hidden)}
tokens = [letters[byte] for byte in range(256)] + ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "ab"]

writer = gguf.GGUFWriter(f"{folder}/noise.gguf", "qwen2")
writer.add_block_count(LAYERS)
writer.add_context_length(2_048)
writer.add_embedding_length(WIDTH)
writer.add_feed_forward_length(WIDTH)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("qwen2")
writer.add_token_list(tokens)
writer.add_token_types([1] * 256 + [3] * 3 + [1])
writer.add_token_merges(["a b"])
writer.add_eos_token_id(258)
dice = numpy.random.default_rng(1)
tensor = lambda name, *shape: writer.add_tensor(name, dice.normal(0, 0.1, shape).astype(numpy.float32))
ones = lambda name: writer.add_tensor(name, numpy.ones(WIDTH, numpy.float32))
tensor("token_embd.weight", len(tokens), WIDTH)
ones("output_norm.weight")
only = [0.0 if 97 <= number < 123 else -1e4 for number in range(len(tokens))]
writer.add_tensor("output.bias", numpy.array(only, numpy.float32))
narrow = WIDTH // HEADS * KV_HEADS
for layer in range(LAYERS):
    for name, rows in ("attn_q", WIDTH), ("attn_k", narrow), ("attn_v", narrow):
        tensor(f"blk.{layer}.{name}.weight", rows, WIDTH)
        tensor(f"blk.{layer}.{name}.bias", rows)
    for name in "attn_output", "ffn_gate", "ffn_up", "ffn_down":
        tensor(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
    ones(f"blk.{layer}.attn_norm.weight")
    ones(f"blk.{layer}.ffn_norm.weight")
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

params = xllamacpp.CommonParams()
params.model.path = f"{folder}/noise.gguf"
params.port = 0
params.n_parallel = 4
params.n_ctx = 8_192
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.warmup = False
quiet = os.open(os.devnull, os.O_WRONLY)
os.dup2(quiet, 2)
server = xllamacpp.Server(params)


def ask(path, body):
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    return urllib.request.urlopen(request, timeout=60).read().decode()


print("llama.cpp's server, of xllamacpp", version("xllamacpp"))
print("behaviour: one JSON answer states the usage of its first choice, or of its first prompt, alone")
chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "n": 2}
answer = json.loads(ask("/v1/chat/completions", chat))
texts = [choice["message"]["content"] for choice in answer["choices"]]
written = sum(map(len, texts))
stated = answer["usage"]["completion_tokens"]
print(f"chat, n = 2:            written {texts}: {written}, stated {stated}")
assert (written, stated) == (10, 5), "it states another usage than before"

prompts = ["one two", "three four five six", "seven"]
answer = json.loads(ask("/v1/completions", {"prompt": prompts, "max_tokens": 4}))
texts = [choice["text"] for choice in answer["choices"]]
written, read = sum(map(len, texts)), sum(map(len, prompts))
usage = answer["usage"]
print(f"completions, 3 prompts: written {texts}: {written}, stated {usage['completion_tokens']};"
      f" read {read}, stated {usage['prompt_tokens']}")
assert (written, usage["completion_tokens"]) == (12, 4), "it states another usage than before"
assert (read, usage["prompt_tokens"]) == (31, 7), "it states another usage than before"

events = ask("/v1/chat/completions", {**chat, "stream": True, "stream_options": {"include_usage": True}})
data = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
each = [event["usage"]["completion_tokens"] for event in data if event.get("usage")]
print(f"chat, n = 2, a stream:  stated {each}, in events of which none says whose choice it is")
assert each == [5, 5], "it states another usage than before"
sys.stdout.flush()
os._exit(0)
PYTHON
"$folder/env/bin/python" "$folder/look.py" "$folder"
