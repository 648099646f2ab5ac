"""Writes a tiny language model of random numbers as GGUF: the Qwen2 architecture, whole, at a size that loads in
milliseconds. What it answers is noise, down to invalid UTF-8, but every model token of it comes from a real forward pass.
The bytes depend on nothing but this file: the same SHA-256 on every machine.

    python tiny.py FILE
"""

import hashlib
import math
import struct
import sys

WIDTH, FEED, LAYERS, HEADS, KV_HEADS, CONTEXT = 64, 64, 2, 4, 2, 4096
SEED = "earnest tiny qwen2"

# Longer pieces than bytes, so that one character more is not always one model token more.
MERGES = ["Ġ t", "h e", "Ġt he", "i n", "e r", "a n", "r e", "o n", "Ġ a", "Ġ s", "in g", "Ġ w"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]

# Ours, near the shape that Qwen2 was trained on. One call a message: llama.cpp reads that from the template, and noise
# that may call as often as it likes never ends.
TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\n\\nA call is a JSON object with name and arguments within tags: <tool_call>{"name": <name>, "arguments": <object>}</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant' }}
{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
{%- if message.tool_calls %}
{%- set call = message.tool_calls[0] %}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}</tool_call>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def byte_letters():
    """GPT-2's printable letter for each byte: itself where it can be seen, else one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    letters = {byte: chr(byte) for byte in seen} | {byte: chr(256 + at) for at, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(256)]


def leaning():
    """What is added to the score of each model token: enough printable letters that one can look at an answer, and
    the tag that opens a tool's call often, for llama.cpp lets a model say anything before it calls."""
    scores = [2.0 if 32 <= byte < 127 else 0.0 for byte in range(256)] + [2.0] * len(MERGES)
    return scores + [-20.0, -20.0, 0.0, 3.0, 0.0]


def tensors():
    """Name, shape (fastest dimension first, as GGUF has it), and the numbers, where they are not random."""
    kv = WIDTH // HEADS * KV_HEADS
    vocabulary = 256 + len(MERGES) + len(SPECIALS)
    ones = [1.0] * WIDTH
    yield "token_embd.weight", (WIDTH, vocabulary), None
    yield "output_norm.weight", (WIDTH,), ones
    yield "output.bias", (vocabulary,), leaning()
    for layer in range(LAYERS):
        for name, shape in {
            "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, kv), "attn_v": (WIDTH, kv), "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (WIDTH, FEED), "ffn_up": (WIDTH, FEED), "ffn_down": (FEED, WIDTH),
        }.items():
            yield f"blk.{layer}.{name}.weight", shape, None
            if name in ("attn_q", "attn_k", "attn_v"):
                yield f"blk.{layer}.{name}.bias", shape[1:], None
        yield f"blk.{layer}.attn_norm.weight", (WIDTH,), ones
        yield f"blk.{layer}.ffn_norm.weight", (WIDTH,), ones


def numbers(name, shape, values):
    """A tensor's bytes: matrices in half precision, vectors in single, as llama.cpp wants them."""
    count = math.prod(shape)
    if values is None:
        # Integers of a hash, not a library's generator: the same in every version of Python.
        drawn = hashlib.shake_256(f"{SEED} {name}".encode()).digest(2 * count)
        values = [value / 32768 * 0.25 for value in struct.unpack(f"<{count}h", drawn)]
    return struct.pack(f"<{count}{'e' if len(shape) > 1 else 'f'}", *values)


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, value):
    """One of GGUF's key-value pairs; lists are of texts or of 32-bit integers."""
    if isinstance(value, bool):
        tagged = struct.pack("<I?", 7, value)
    elif isinstance(value, int):
        tagged = struct.pack("<II", 4, value)
    elif isinstance(value, float):
        tagged = struct.pack("<If", 6, value)
    elif isinstance(value, str):
        tagged = struct.pack("<I", 8) + text(value)
    elif isinstance(value[0], str):
        tagged = struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    else:
        tagged = struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    return text(key) + tagged


def model():
    tokens = byte_letters() + [merge.replace(" ", "") for merge in MERGES] + SPECIALS
    plain_tokens = 256 + len(MERGES)
    endoftext, im_end = plain_tokens, plain_tokens + 2
    plain, control, ours = 1, 3, 4  # llama.cpp's kinds: a tag of tools is matched whole but shown in the answer
    kinds = [plain] * plain_tokens + [control] * 3 + [ours] * 2
    entries = {
        "general.architecture": "qwen2",
        "general.name": "earnest-tiny-noise",
        "general.description": "Random numbers in the shape of a Qwen2 model: its answers are noise. For tests.",
        "general.license": "mit",
        "general.alignment": 32,
        "general.file_type": 1,
        "qwen2.block_count": LAYERS,
        "qwen2.context_length": CONTEXT,
        "qwen2.embedding_length": WIDTH,
        "qwen2.feed_forward_length": FEED,
        "qwen2.attention.head_count": HEADS,
        "qwen2.attention.head_count_kv": KV_HEADS,
        "qwen2.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen2.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.eos_token_id": im_end,
        "tokenizer.ggml.padding_token_id": endoftext,
        "tokenizer.ggml.bos_token_id": endoftext,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }
    infos, data = b"", b""
    for name, shape, values in tensors():
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, int(len(shape) > 1), len(data))
        data += numbers(name, shape, values)
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, sum(1 for _ in tensors()), len(entries))
    head += b"".join(entry(key, value) for key, value in entries.items()) + infos
    return head + bytes(-len(head) % 32) + data


def write(path):
    data = model()
    with open(path, "wb") as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest(), len(data)


if __name__ == "__main__":
    digest, size = write(sys.argv[1])
    print(f"{digest}  {sys.argv[1]}  {size} bytes of noise")
