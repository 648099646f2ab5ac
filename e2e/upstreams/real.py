"""Starts one real OpenAI-compatible server on the tiny model of noise of e2e/models/tiny.py, and says when it answers.

    python real.py {xllamacpp,litellm,llama-cpp-python,transformers} PORT [--models DIR] [--name NAME] [--python PYTHON]
                   [--log FILE] [--lines FILE] [--up http://…/v1] [--work DIR]

Prints `upstream http://127.0.0.1:PORT/v1 NAME` when it answers, and stops it (and what stands behind it) with SIGTERM or
SIGINT. NAME is what a request's `model` has to say. `--python` is the interpreter of the environment the server is
installed in (this one, unless given): their pins clash. `--models` is e2e/models (its tiny.py and
serve.py are used as they are). litellm stands in front of a xllamacpp that is started by `--back` (an
interpreter with xllamacpp, else `--python`), unless `--up` names another upstream.

Ran with Python 3.11.7, x86-64, each in an environment of its own but for the first two:
  xllamacpp         e2e/python/requirements.txt            starts in 2 s
  litellm           e2e/python/requirements.txt            starts in 10 s
  llama-cpp-python  e2e/upstreams/llama-cpp-python.txt     no wheel on PyPI: compiled in 6 min of a processor at -O1; starts in 3 s
  transformers      e2e/upstreams/transformers.txt         PyPI's torch brings CUDA: 5.4 GB; starts in 20 s
The last two run within counted.py, which writes down what they count.
Notes: xllamacpp and litellm: the noise says the same for the same `seed` (litellm drops `seed` on /responses).
serve.py turns llama.cpp's own default of `cache_prompt` off; a request turns it on. litellm refuses to start without a
master key unless told by a variable (set here); its name for the model is NAME, for its upstream's `noise`, which
reaches the client in response.completed of /responses.
"""
import argparse, json, os, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request
from pathlib import Path

def arguments():
    p = argparse.ArgumentParser(description="a real upstream on a tiny model of noise")
    p.add_argument("server", choices=["xllamacpp", "litellm", "llama-cpp-python", "transformers"])
    p.add_argument("port", type=int, help="0: any that is free")
    p.add_argument("--models", type=Path, default=Path(__file__).parent.parent / "models")
    p.add_argument("--name", default="m")
    p.add_argument("--python", default=sys.executable)
    p.add_argument("--back", help="litellm: the interpreter that has xllamacpp")
    p.add_argument("--up", help="litellm: another upstream than xllamacpp")
    p.add_argument("--log", default=os.devnull)
    p.add_argument("--lines", help="the server's own count, a JSON object a generation")
    p.add_argument("--work", type=Path, help="where files are written (a temporary folder)")
    p.add_argument("--wait", type=float, default=180)
    options = p.parse_args()
    options.port = options.port or free()
    return options

def free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

def gguf(options, work):
    """serve.py makes its own; the others read this one."""
    sys.path.insert(0, str(options.models)); sys.dont_write_bytecode = True
    import tiny
    path = work / "noise.gguf"
    if not path.exists(): tiny.write(path)
    return path

def transformers_folder(options, work):
    """The same shape and vocabulary as the GGUF, as transformers reads it: config, tokenizer, weights (its own noise)."""
    folder = work / options.name
    subprocess.run([options.python, "-c", """
import sys; sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True
import json, torch, tiny
from pathlib import Path
from tokenizers import Tokenizer, models, pre_tokenizers, decoders
from transformers import Qwen2Config, Qwen2ForCausalLM, PreTrainedTokenizerFast, GenerationConfig
folder = Path(sys.argv[2]); folder.mkdir(parents=True, exist_ok=True); torch.manual_seed(1); torch.set_num_threads(1)
words = tiny.byte_letters() + [m.replace(' ', '') for m in tiny.MERGES] + tiny.SPECIALS
t = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [tuple(m.split(' ')) for m in tiny.MERGES]))
t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False); t.decoder = decoders.ByteLevel()
fast = PreTrainedTokenizerFast(tokenizer_object=t, eos_token='<|im_end|>', pad_token='<|endoftext|>',
    additional_special_tokens=['<|im_start|>']); fast.chat_template = tiny.TEMPLATE; fast.save_pretrained(folder)
eos, pad = words.index('<|im_end|>'), words.index('<|endoftext|>')
c = Qwen2Config(vocab_size=len(words), hidden_size=tiny.WIDTH, intermediate_size=tiny.FEED, num_hidden_layers=tiny.LAYERS,
    num_attention_heads=tiny.HEADS, num_key_value_heads=tiny.KV_HEADS, max_position_embeddings=tiny.CONTEXT,
    eos_token_id=eos, pad_token_id=pad, bos_token_id=pad, tie_word_embeddings=True)
m = Qwen2ForCausalLM(c); m.generation_config = GenerationConfig(eos_token_id=eos, pad_token_id=pad, do_sample=True)
m.save_pretrained(folder)
""", str(options.models), str(folder)], check=True, stdout=subprocess.DEVNULL, stderr=open(options.log, "ab"))
    return folder

def commands(options, work):
    """What to start, in this order, and the address that tells that it answers."""
    port, name, quiet = options.port, options.name, {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    serve = lambda python, port, name: [python, str(options.models / "serve.py"), "--port", str(port), "--name", name,
        "--log", options.log] + (["--lines", options.lines] if options.lines else [])
    counted = [options.python, str(Path(__file__).parent.absolute() / "counted.py"), options.lines or os.devnull]
    if options.server == "xllamacpp":
        return [(serve(options.python, port, name), quiet, f"http://127.0.0.1:{port}/v1/models")]
    if options.server == "litellm":
        up, first = options.up, []
        if up is None:
            behind = free()
            up = f"http://127.0.0.1:{behind}/v1"
            first = [(serve(options.back or options.python, behind, "noise"), quiet, up + "/models")]
        config = work / "litellm.yaml"  # JSON is YAML
        config.write_text(json.dumps({"model_list": [{"model_name": name, "litellm_params": {
            "model": "openai/noise", "api_base": up, "api_key": "none"}}], "litellm_settings": {"telemetry": False, "num_retries": 0}}))
        return first + [([str(Path(options.python).parent / "litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1",
            "--num_workers", "1"], {**quiet, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", "NO_DOCS": "True"},
            f"http://127.0.0.1:{port}/health/liveliness")]
    if options.server == "llama-cpp-python":
        return [([*counted, "llama-cpp-python", "--model", str(gguf(options, work)), "--model_alias", name, "--host", "127.0.0.1",
            "--port", str(port), "--n_ctx", "4096", "--n_threads", "1", "--n_threads_batch", "1", "--seed", "1", "--embedding", "true"], quiet, f"http://127.0.0.1:{port}/v1/models")]
    transformers_folder(options, work)
    return [([*counted, "transformers", "serve", options.name, "--port", str(port), "--host", "127.0.0.1",
        "--device", "cpu"], {**quiet, "HF_HUB_OFFLINE": "1"}, f"http://127.0.0.1:{port}/health")]

def main():
    options = arguments()
    work = options.work or Path(tempfile.mkdtemp(prefix="earnest-real-")); work.mkdir(parents=True, exist_ok=True)
    running = []
    def stop(*_):
        for child in reversed(running): child.terminate()
        for child in running:
            try: child.wait(8)
            except subprocess.TimeoutExpired: child.kill()
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, stop)
    for command, environment, ready in commands(options, work):
        log = open(options.log, "ab")
        running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=work))
        end = time.monotonic() + options.wait
        while True:
            try: urllib.request.urlopen(ready, timeout=2).read(); break
            except urllib.error.HTTPError as answer:
                if answer.code < 500: break
            except OSError: pass
            if running[-1].poll() is not None or time.monotonic() > end:
                print(f"{options.server} did not start: {' '.join(command)}", file=sys.stderr); [c.kill() for c in running]; sys.exit(1)
            time.sleep(0.25)
    name = options.name  # transformers finds the folder of that name in `work`, where it is started
    print(f"upstream http://127.0.0.1:{options.port}/v1 {name}", flush=True)
    while all(child.poll() is None for child in running): time.sleep(0.5)
    stop()

if __name__ == "__main__": main()
