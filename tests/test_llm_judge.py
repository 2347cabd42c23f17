"""A judge that looks, against a local fake server: calibrated before it is believed, bounded, and silent about keys."""

import base64
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from pisa_kit.core.errors import InputError
from pisa_kit.metrics import llm_judge
from pisa_kit.metrics.llm_judge import KNOWN, QUESTIONS, Judge, calibration, judged, known
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate

TRUTHS = [simulate(sample(seed), 32, 9, 16) for seed in range(2)]
EXAMPLES = known(TRUTHS, TRUTHS, TRUTHS)  # what they show does not matter: the fake knows the order they come in


@pytest.fixture
def server(monkeypatch):
    """A fake endpoint: `server.reply(request body) -> (status, text)`; it keeps what it was sent."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.seen.append((self.path, dict(self.headers), body))
            status, text = fake.reply(body)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"http://127.0.0.1:{fake.server_port}/elsewhere")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    fake = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.seen, fake.url = [], f"http://127.0.0.1:{fake.server_port}/v1"
    threading.Thread(target=fake.serve_forever, daemon=True).start()
    yield fake
    fake.shutdown()


def says(answers):
    content = "Sure: " + json.dumps({name: "Yes." if value else "no" for name, value in answers.items()})
    return 200, json.dumps({"choices": [{"message": {"content": content}}]})


def in_order(fake, methods, wrong=()):
    """Right answers to the examples in the order in which they are asked, but for the questions in `wrong`."""
    order = [method for method in methods for _ in TRUTHS]

    def reply(body):
        right = KNOWN.get(order[len(fake.seen) - 1], KNOWN["vanish"])
        return says({name: value if name not in wrong else True for name, value in right.items()})

    fake.reply = reply


def test_one_question_sheet_and_one_strip_per_video(server):
    server.reply = lambda body: says(KNOWN["copied"])
    assert Judge(server.url, "m", "secret").ask(TRUTHS[0]) == KNOWN["copied"]
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret" and body["model"] == "m"
    text, image = body["messages"][0]["content"]
    assert all(question in text["text"] for question in QUESTIONS.values())
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].split(",")[1]))))
    assert strip.shape == (192, 6 * 192, 3) and (strip[::6, ::6][:, :32] == TRUTHS[0].frames[0]).all()


def test_a_judge_that_knows_the_examples_is_believed(server):
    in_order(server, [*KNOWN, "base"])
    table, stopped = judged(Judge(server.url, "m"), EXAMPLES, {"base": TRUTHS})
    assert not stopped and (table["right"] == 1).all() and table["trusted"].all()
    assert table["base"].to_dict() == {"falls": 1.0, "stays": 0.0, "appears": 0.0}


def test_a_question_it_answers_with_yes_whatever_it_sees_is_not_believed(server):
    in_order(server, [*KNOWN, "base"], wrong=("appears",))
    table, _ = judged(Judge(server.url, "m"), EXAMPLES, {"base": TRUTHS})
    assert table.loc["appears", "right"] == 0.5 and not table.loc["appears", "trusted"]
    assert np.isnan(table.loc["appears", "base"]) and table.loc["falls", "base"] == 1


def test_nonsense_is_an_open_answer_and_open_answers_are_wrong(server):
    server.reply = lambda body: (200, json.dumps({"choices": [{"message": {"content": "maybe"}}]}))
    answers, stopped = llm_judge.ask_all(Judge(server.url, "m"), EXAMPLES)
    assert not stopped and answers[list(QUESTIONS)].isna().all(axis=None)
    assert (calibration(answers) == 0).all()


@pytest.mark.parametrize("status, attempts", [(500, 3), (429, 3), (401, 1), (302, 1)])
def test_what_fails_is_tried_a_bounded_number_of_times_and_stops_nothing(server, status, attempts, capsys):
    server.reply = lambda body: (status, "secret")
    table, stopped = judged(Judge(server.url, "m", "secret"), EXAMPLES, {"base": TRUTHS})
    assert len(server.seen) == attempts, "the first video alone, and no redirection"
    assert f"status {status}" in stopped and "base" not in table and not table["trusted"].any()
    said = stopped + repr(Judge(server.url, "m", "secret")) + "".join(capsys.readouterr())
    assert "secret" not in said


def test_nobody_there_and_too_slow(server):
    _, stopped = judged(Judge("http://127.0.0.1:9/v1", "m"), EXAMPLES, {})
    assert "did not answer" in stopped
    server.reply = lambda body: threading.Event().wait(1) or says(KNOWN["truth"])
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="TimeoutError"):
        Judge(server.url, "m", timeout=0.1, attempts=2).ask(TRUTHS[0])
    assert time.monotonic() - began < 2


def test_off_unless_named(monkeypatch):
    monkeypatch.delenv("PISA_JUDGE_URL", raising=False)
    assert Judge.from_environment() is None
    monkeypatch.setenv("PISA_JUDGE_URL", "http://user:secret@localhost/v1")
    assert Judge.from_environment() is None
    monkeypatch.setenv("PISA_JUDGE_MODEL", "m")
    for bad in ("file:///etc/passwd", "http://user:secret@localhost/v1"):
        monkeypatch.setenv("PISA_JUDGE_URL", bad)
        with pytest.raises(InputError, match="url") as refused:
            Judge.from_environment()
        assert "secret" not in str(refused.value)


def test_known_mistakes_show_what_they_are_called():
    made = known(TRUTHS, TRUTHS, TRUTHS)
    truth, mask = TRUTHS[0], TRUTHS[0].dropped
    assert (made["recoloured"][0].frames[-1][mask[-1]] == 255 - truth.frames[-1][mask[-1]]).all()
    assert (made["recoloured"][0].frames[0] == truth.frames[0]).all()
    assert (made["copied"][0].frames[0] == truth.frames[0]).all()
    assert (made["copied"][0].frames[-1] != truth.frames[-1]).any()
