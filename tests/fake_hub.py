"""A Hugging Face hub on this machine: serves files from memory, takes commits, and says what it was asked."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves `files` of any repository; `size` is what it claims of each, `refuse` (status, error code) its answer.

    `asked` lists the files that were fetched, `created` the repositories that were made, `pushed` holds what arrived.
    """

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.sent, self.size, self.refuse = dict(files), {}, None, None
        self.asked, self.created, self.pushed, self.tokens = [], [], {}, set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, body: bytes, **headers):
        self.send_response(200)
        for name, value in ({"Content-Length": len(body), "X-Repo-Commit": COMMIT} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refused(self) -> bool:
        self.server.tokens.add(self.headers.get("authorization"))
        if self.server.refuse:
            status, code = self.server.refuse
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
        return self.server.refuse is not None

    def do_GET(self):
        hub, path = self.server, self.path.split("?")[0]
        if self.refused():
            return
        if "/resolve/" in path:
            name = path.split(f"/resolve/{COMMIT}/")[1]
            data = hub.sent.get(name, hub.files[name])
            if self.command == "GET":
                hub.asked.append(name)
            etag = f'"{hashlib.sha256(hub.files[name]).hexdigest()}"'
            self.answer(data, ETag=etag, X_Linked_Size=hub.size or len(data))
        elif "/tree/" in path:
            tree = []
            for name, data in hub.files.items():
                lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": hub.size or len(data), "pointerSize": 100}
                tree.append({"type": "file", "path": name, "size": lfs["size"], "oid": "0" * 40, "lfs": lfs})
            self.answer(json.dumps(tree).encode(), Content_Type="application/json")
        else:
            self.answer(json.dumps({"id": "a/b", "sha": COMMIT, "siblings": []}).encode())

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.refused():
            return
        reply = {"errors": [], "warnings": []}
        if self.path.endswith("/repos/create"):
            self.server.created.append(json.loads(body))
            reply = {"url": f"{self.server.address}/me/drops", "name": "me/drops"}
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            reply = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.pushed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            reply = {"commitUrl": f"{self.server.address}/me/drops/commit/{COMMIT}", "commitOid": COMMIT}
        self.answer(json.dumps(reply).encode(), Content_Type="application/json")
