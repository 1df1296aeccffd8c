"""Servers on loopback that take a stranger's questions, or do not."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def dashboard(token, *, version="2.60.0", begins=b""):
    """Serve pages to who shows the token, to all if it is None; yield the port."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            refused = token is not None and self.headers["Authorization"] != f"Bearer {token}"
            body = begins or json.dumps({"ray_version": version}).encode()
            self.send_response(401 if refused else 200)
            self.send_header("Content-Length", "0" if refused else str(len(body)))
            self.end_headers()
            if not refused:
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def control_service(token):
    """Answer every call of gRPC that shows the token, all if it is None; yield the port."""
    import grpc

    def answer(request, context):
        shown = dict(context.invocation_metadata()).get("authorization")
        if token is not None and shown != f"Bearer {token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return b""

    class Handlers(grpc.GenericRpcHandler):
        def service(self, call):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2), handlers=(Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
