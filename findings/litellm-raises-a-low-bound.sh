#!/usr/bin/env bash
# LiteLLM: for /responses, a `max_output_tokens` below 16 is sent on as 16, without a word, whatever server stands behind it:
# OpenAI's own refuses less, so no server is asked for less. Whoever sets a bound to know the most that an answer can cost
# is wrong by up to sixteen times.
#
# The server behind it is a few lines here, and says what it was asked. Needs Python 3.10 or later and some 350 MB in a
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

asked = []
ANSWER = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [],
          "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}, "parallel_tool_calls": False,
          "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, "instructions": None,
          "metadata": {}, "temperature": 1, "top_p": 1}


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({**ANSWER, "max_output_tokens": asked[-1]["max_output_tokens"]}).encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("litellm", version("litellm"))
print("behaviour: max_output_tokens below 16 becomes 16")
for bound in 1, 4, 15, 16, 17:
    answer = litellm.responses(model="openai/m", input="hi", max_output_tokens=bound, api_key="x",
                               api_base=f"http://127.0.0.1:{server.server_port}/v1")
    print(f"asked for {bound:>2}: sent {asked[-1]['max_output_tokens']}, the answer says {answer.max_output_tokens}")
sent = [body["max_output_tokens"] for body in asked]
assert sent == [16, 16, 16, 16, 17], "it sends another bound than before"
PYTHON
"$folder/env/bin/python" "$folder/look.py"
