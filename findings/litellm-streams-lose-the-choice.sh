#!/usr/bin/env bash
# LiteLLM: of a stream with several choices, whatever server stands behind it, the text of every prompt of `/completions`
# comes as choice 0's, and in a chat the end of choice 1 comes as choice 0's. Whoever puts pieces together by `index`, or
# takes a choice for ended that says so, has texts that are mixed, or cut off.
#
# The server behind it is a few lines here, and sends what OpenAI's does. Needs Python 3.10 or later and some 350 MB in a
# temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check litellm==1.108.7
cat > "$folder/look.py" <<'PYTHON'
import http.server, json, os, threading
from importlib.metadata import version

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # asks nobody for prices
import litellm

SAID = [(0, "a"), (1, "b"), (0, "a"), (1, "b"), (1, None), (0, "a"), (0, None)]


def event(chat, index, text):
    choice = {"index": index, "finish_reason": None if text else "stop"}
    choice |= {"delta": {"content": text} if text else {}} if chat else {"text": text or ""}
    kind = "chat.completion.chunk" if chat else "text_completion"
    return {"id": "1", "object": kind, "created": 1, "model": "m", "choices": [choice]}


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        chat = self.path.endswith("/chat/completions")
        for index, text in SAID:
            self.wfile.write(f"data: {json.dumps(event(chat, index, text))}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
at = {"api_base": f"http://127.0.0.1:{server.server_port}/v1", "api_key": "x", "stream": True}
print("litellm", version("litellm"))
print("behaviour: pieces and ends of choices in a stream come as another choice's")


def shown(stream, text_of):
    pieces = []
    for chunk in stream:
        for choice in chunk.choices:
            if text_of(choice) or choice.finish_reason:
                pieces.append((choice.index, text_of(choice) or None))
    return pieces


texts = shown(litellm.text_completion(model="text-completion-openai/m", prompt=["one", "two"], **at), lambda choice: choice.text)
chat = shown(litellm.completion(model="openai/m", messages=[{"role": "user", "content": "hi"}], n=2, **at),
             lambda choice: choice.delta.content)
print("sent (choice, text; None: its end):", SAID)
print("completions, two prompts:          ", texts)
print("chat, n = 2:                       ", chat)
assert {index for index, _ in texts} == {0}, "the texts of prompts have other choices than before"
assert [index for index, text in chat if text is None] != [1, 0], "the ends are told apart"
PYTHON
"$folder/env/bin/python" "$folder/look.py"
