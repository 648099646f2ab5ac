#!/usr/bin/env bash
# LitServe: an answer of its OpenAI-compatible face states a usage of zeros where the model behind it counts nothing itself,
# and never that there is none. Zeros are no count: whoever charges what is stated gives the answer away, and whoever only
# asks whether usage is there finds it.
#
# The model behind it is a few lines here. Needs Python 3.10 or later and some 150 MB in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check litserve==0.2.19
port=$("$folder/env/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$folder/serve.py" <<'PYTHON'
import sys

import litserve


class Model(litserve.LitAPI):
    def setup(self, device):
        pass

    def predict(self, prompt):
        yield from ["one ", "two ", "three"]


if __name__ == "__main__":
    server = litserve.LitServer(Model(spec=litserve.OpenAISpec()), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
PYTHON
"$folder/env/bin/python" "$folder/serve.py" "$port" > "$folder/serve.log" 2>&1 &
server=$!
cat > "$folder/look.py" <<'PYTHON'
import json, sys, time, urllib.request
from importlib.metadata import version

url = f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions"


def ask(**more):
    body = {"model": "m", "messages": [{"role": "user", "content": "count to three"}], **more}
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    return urllib.request.urlopen(asked, timeout=30).read().decode()


for _ in range(120):
    try:
        whole = json.loads(ask())
        break
    except OSError:
        time.sleep(0.5)
print("litserve", version("litserve"))
print("behaviour: usage is zeros for an answer of three words")
print("answer:", whole["choices"][0]["message"]["content"], "usage:", whole["usage"])
events = [line[6:] for line in ask(stream=True, stream_options={"include_usage": True}).splitlines() if line.startswith("data: {")]
stated = [json.loads(event).get("usage") for event in events]
print("stream:", len(events), "events, usage:", [usage for usage in stated if usage])
assert whole["choices"][0]["message"]["content"] == "one two three"
counts = [whole["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
assert counts == [0, 0, 0], "it counts by now"
PYTHON
"$folder/env/bin/python" "$folder/look.py" "$port"
