#!/usr/bin/env bash
# httpx: `Response.iter_lines()` ends a line wherever Python's `str.splitlines` does: at U+2028, U+2029, U+0085, U+000B,
# U+000C and U+001C to U+001E, too. JSON may have the first three within a string as they are, and models write them. So a
# stream of events or of JSON lines that is read by `iter_lines` loses what stands behind one, or is no JSON any more.
# Lines of server-sent events end at LF, CR or both, and at nothing else.
#
# Cut bytes, not text; httpx-sse 0.4.3 does. Needs Python 3.9 or later.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check httpx==0.28.1
cat > "$folder/look.py" <<'PYTHON'
import json

import httpx

event = "data: " + json.dumps({"text": "one\u2028two\u0085three"}, ensure_ascii=False) + "\n\n"
transport = httpx.MockTransport(lambda _: httpx.Response(200, content=event.encode()))
with httpx.Client(transport=transport).stream("GET", "http://example.test/") as answer:
    lines = list(answer.iter_lines())
print("httpx", httpx.__version__)
print("behaviour: iter_lines ends a line at U+2028 and U+0085, in the middle of JSON")
print("an event of one line:  ", ascii(event))
print("as iter_lines has it:  ", ascii(lines))
print("as its bytes have it:  ", ascii(event.encode().split(b"\n")[0].decode()))
assert json.loads(event[6:]) == {"text": "one\u2028two\u0085three"}, "it is JSON"
assert lines == ['data: {"text": "one', "two", 'three"}', ""], "lines end elsewhere than before"
PYTHON
"$folder/env/bin/python" "$folder/look.py"
