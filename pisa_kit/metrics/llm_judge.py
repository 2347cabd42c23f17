"""A judge that looks: a multimodal language model answers fixed questions about a film strip. Off unless it is named.

It is asked about videos whose answers are known first, and believed only where it knows them. A judge that cannot be
reached leaves answers open and stops nothing; its key is sent to the configured address alone and never printed.
"""

import base64
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.media import encode_image
from pisa_kit.core.checks import Few, Positive, Text, check_fields
from pisa_kit.core.errors import InputError, first_line

QUESTIONS = {
    "falls": "Does the object that hangs in midair in the first picture fall down?",
    "stays": "Is that object there in all pictures, with the same colour and shape?",
    "appears": "Does anything appear that is not in the first picture, such as a second such object?",
}
KNOWN = {  # what is right to say of videos with one known mistake
    "truth": {"falls": True, "stays": True, "appears": False},
    "frozen": {"falls": False, "stays": True, "appears": False},
    "vanish": {"falls": True, "stays": False, "appears": False},
    "recoloured": {"falls": True, "stays": False, "appears": False},
    "copied": {"falls": True, "stays": True, "appears": True},
}
TRUSTED = 0.8  # balanced share of right answers from which on a question's answers count
PICTURES, SIDE, LONGEST = 6, 192, 1_000_000  # of a strip; pixels of each at least; bytes of an answer
PROMPT = "Pictures of one video, in order from left to right. Answer with JSON alone, each with yes or no: "


@dataclass(frozen=True)
class Judge:
    """Where the judge answers.

    Args:
        url: of an OpenAI-compatible endpoint, e.g. "http://localhost:8000/v1".
        model: its name there.
        key: sent as bearer token.
        timeout: seconds per attempt.
        attempts: for each video.
    """

    url: Text
    model: Text
    key: Text = field(default="", repr=False)
    timeout: Positive = 60.0
    attempts: Few = 3

    def __post_init__(self):
        if not re.fullmatch(r"https?://[^/@\s]+(/\S*)?", str(self.url)):
            raise InputError("judge", "url", "is no http(s) address without a password", "Set PISA_JUDGE_URL.")
        check_fields(self, "judge")

    @classmethod
    def from_environment(cls) -> "Judge | None":
        """From PISA_JUDGE_URL, PISA_JUDGE_MODEL and PISA_JUDGE_KEY; None without an address or a name."""
        url, model, key = (os.environ.get(f"PISA_JUDGE_{name}", "") for name in ("URL", "MODEL", "KEY"))
        return cls(url, model, key) if url and model else None

    def ask(self, clip: Clip) -> dict[str, bool | None]:
        """Answers by question; None where it said neither yes nor no.

        Raises:
            ConnectionError: it cannot be reached, refuses, or is too slow, after all attempts.
        """
        image = "data:image/png;base64," + base64.b64encode(strip(clip)).decode()
        content = [{"type": "text", "text": PROMPT + json.dumps(QUESTIONS)}]
        content.append({"type": "image_url", "image_url": {"url": image}})
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": content}]}
        for attempt in range(self.attempts):
            try:
                return _answers(self._post(json.dumps(body).encode()))
            except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
                reason = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
                if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429:
                    break
                time.sleep(min(2**attempt, 4) * (attempt + 1 < self.attempts))
        raise ConnectionError(f"the judge at {self.url.split('?')[0]} did not answer: {reason}")

    def _post(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(self.url.rstrip("/") + "/chat/completions", body, headers)
        data, end = b"", time.monotonic() + self.timeout
        with urllib.request.build_opener(_Stay).open(request, timeout=self.timeout) as answer:
            while part := answer.read1(65536):
                data += part
                if time.monotonic() > end or len(data) > LONGEST:
                    raise TimeoutError("too slow or too long")
        return json.loads(data)["choices"][0]["message"]["content"]


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the key must not go elsewhere."""

    def redirect_request(self, *_):
        return None


def _answers(text: str) -> dict[str, bool | None]:
    found = re.search(r"\{.*\}", text, re.DOTALL)
    said = json.loads(found[0]) if found else {}
    return {name: {"yes": True, "no": False}.get(str(said.get(name)).strip(". ").lower()) for name in QUESTIONS}


def strip(clip: Clip) -> bytes:
    """`PICTURES` frames of a clip beside each other, as PNG."""
    frames = clip.frames[np.linspace(0, len(clip) - 1, PICTURES).round().astype(int)]
    times = max(1, -(-SIDE // frames.shape[1]))
    return encode_image(np.hstack(frames.repeat(times, 1).repeat(times, 2)), "PNG")


def known(truths: list[Clip], frozen: list[Clip], vanish: list[Clip]) -> dict[str, list[Clip]]:
    """Videos for each name in `KNOWN`; those that are not given are made from the true clips and their masks."""
    made = {"truth": truths, "frozen": frozen, "vanish": vanish, "recoloured": [], "copied": []}
    for clip in truths:
        late = (np.arange(len(clip)) >= len(clip) // 3)[:, None, None]
        inside, shift = (clip.dropped & late)[..., None], clip.frames.shape[2] // 3
        aside = np.roll(inside, shift, 2)
        made["recoloured"].append(replace(clip, frames=np.where(inside, 255 - clip.frames, clip.frames)))
        made["copied"].append(replace(clip, frames=np.where(aside, np.roll(clip.frames, shift, 2), clip.frames)))
    return made


def ask_all(judge: Judge, videos: dict[str, list[Clip]]) -> tuple[pd.DataFrame, str]:
    """Answers 1, 0 or NaN, a row per video: "method", "name" and the questions; and why it stopped, if it did."""
    rows, stopped = [], ""
    for method, clips in videos.items():
        for clip in clips:
            answers = dict.fromkeys(QUESTIONS)
            if not stopped:
                try:
                    answers = judge.ask(clip)
                except ConnectionError as error:
                    stopped = first_line(error)
            rows.append({"method": method, "name": clip.name} | answers)
    return pd.DataFrame(rows).astype(dict.fromkeys(QUESTIONS, float)), stopped


def calibration(answers: pd.DataFrame) -> pd.Series:
    """Per question the share of right answers on videos of `KNOWN`, yes and no weighted alike; open ones are wrong."""
    shares = {}
    for question in QUESTIONS:
        right = {True: [], False: []}
        for method, said in answers[["method", question]].itertuples(index=False):
            right[KNOWN[method][question]].append(said == KNOWN[method][question])
        shares[question] = float(np.mean([np.mean(each) for each in right.values()]))
    return pd.Series(shares)


def judged(judge: Judge, examples: dict[str, list[Clip]], videos: dict[str, list[Clip]]) -> tuple[pd.DataFrame, str]:
    """What the judge says of models, only on questions that it answers rightly on the examples (`known`).

    Returns:
        Per question "right" (see `calibration`), "trusted", and per method the share of yes, NaN where it is not to be
        trusted; and a line on what stopped it, or "".
    """
    answers, stopped = ask_all(judge, examples)
    table = pd.DataFrame({"right": calibration(answers)})
    table["trusted"] = table["right"] >= TRUSTED
    if not stopped and table["trusted"].any():
        said, stopped = ask_all(judge, videos)
        shares = said.groupby("method", sort=False)[list(QUESTIONS)].mean().T
        table = table.join(shares.where(table["trusted"], axis=0))
    return table, stopped
