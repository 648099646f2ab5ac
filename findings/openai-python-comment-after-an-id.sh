#!/usr/bin/env bash
# openai-python: a stream may have comments (`: keep-alive`, then an empty line), and by the standard that is no event. It is
# none for this library, too, until an event has had an `id:` field. From then on each empty line behind a comment is an
# event with empty data, and reading it as JSON raises JSONDecodeError in the middle of the answer.
# https://html.spec.whatwg.org/multipage/server-sent-events.html: where the data is empty, nothing is dispatched.
#
# So a server that numbers its events may not send comments with an empty line of their own. Needs Python 3.9 or later.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check openai==3.57.0
cat > "$folder/look.py" <<'PYTHON'
import http.server, json, threading

import openai

piece = json.dumps({"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}]})
STREAMS = {
    "without-id": f"data: {piece}\n\n: keep-alive\n\ndata: {piece}\n\ndata: [DONE]\n\n",
    "with-id": f"id: 1\ndata: {piece}\n\n: keep-alive\n\nid: 2\ndata: {piece}\n\ndata: [DONE]\n\n",
    "with-id-one-line": f"id: 1\ndata: {piece}\n\n: keep-alive\nid: 2\ndata: {piece}\n\ndata: [DONE]\n\n",
}


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(STREAMS[self.path.split("/")[1]].encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("openai", openai.__version__)
print("behaviour: behind an event with an id, a comment and its empty line are read as an event without data")
found = {}
for name, stream in STREAMS.items():
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/{name}", api_key="x", max_retries=0)
    text = ""
    try:
        for event in client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True):
            text += event.choices[0].delta.content
        found[name] = text
    except Exception as error:
        found[name] = f"{text}, then {type(error).__name__}"
    print(f"{name:<17} {found[name]}")
expected = {"without-id": "hellohello", "with-id": "hello, then JSONDecodeError", "with-id-one-line": "hellohello"}
assert found == expected, "it reads comments otherwise than before"
PYTHON
"$folder/env/bin/python" "$folder/look.py"
