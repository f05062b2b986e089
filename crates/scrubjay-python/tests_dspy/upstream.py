"""A server that stands for OpenAI's: it counts calls, marks each answer with the number of its call, and can be told to
hold answers back, to fail, and to answer with tool calls, log probabilities or several choices."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Upstream:
    def __init__(self):
        self.requests = []
        # Cleared: every answer waits until it is set.
        self.gate = threading.Event()
        self.gate.set()
        # Statuses for the next calls; then all is well again.
        self.failures = []
        # Called with each request, for an answer out of the ordinary.
        self.message = lambda body: {"content": _text(self.calls)}
        self._arrived = threading.Condition()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, answer = upstream.answer(self.path, body, self.headers)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def calls(self):
        return len(self.requests)

    def wait_for_calls(self, count):
        """Until so many calls have come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.calls >= count, 60), f"{self.calls} of {count} calls came"

    def answer(self, path, body, headers):
        with self._arrived:
            self.requests.append((path, body, dict(headers)))
            self._arrived.notify_all()
            number = self.calls
            status = self.failures.pop(0) if self.failures else 200
        assert self.gate.wait(60)
        if status != 200:
            return status, {"error": {"message": f"call {number} failed", "type": "invalid_request_error", "code": "x"}}
        for end, make in ANSWERS.items():
            if path.endswith(end):
                return 200, make(self, body, number)
        return 404, {"error": {"message": path}}

    def close(self):
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def _text(number):
    return f"[[ ## answer ## ]]\nanswer {number}\n\n[[ ## completed ## ]]"


def _chat(upstream, body, number):
    message = {"role": "assistant", **upstream.message(body)}
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    choice = {"message": message, "finish_reason": finish}
    if body.get("logprobs"):
        token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
        choice["logprobs"] = {"content": [token], "refusal": None}
    choices = [{"index": index, **choice} for index in range(body.get("n") or 1)]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": choices,
        "usage": USAGE,
    }


def _completion(upstream, body, number):
    choice = {"index": 0, "text": _text(number), "finish_reason": "stop", "logprobs": None}
    return {
        "id": f"cmpl-{number}",
        "object": "text_completion",
        "created": 1,
        "model": "gpt-3.5-turbo-instruct",
        "choices": [choice],
        "usage": USAGE,
    }


def _embeddings(upstream, body, number):
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": i, "embedding": [float(number), i / 3]} for i in range(len(inputs))]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return {"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}


def _responses(upstream, body, number):
    content = {"type": "output_text", "text": _text(number), "annotations": []}
    output = {
        "type": "message",
        "id": f"msg-{number}",
        "status": "completed",
        "role": "assistant",
        "content": [content],
    }
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    return {
        "id": f"resp-{number}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-4o-mini",
        "output": [output],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
    }


# By the end of the path, the longer first.
ANSWERS = {
    "/chat/completions": _chat,
    "/completions": _completion,
    "/embeddings": _embeddings,
    "/responses": _responses,
}
