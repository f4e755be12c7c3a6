"""The program with a model that says what a script tells: `python -m tests.browser.scripted_app SCRIPT.json [NAME]`.

The script maps words of a question to the whole answer; the model has a name. It loads until the file that
ASTRAI_SCRIPT_GATE names is there. All else is the program as it is: library, page, server.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import server, services
from app.answers import MIN_PARAMETERS
from app.models import ModelChoice, ModelHolder
from app.paths import models_dir
from app.variables import set_defaults
from core.config.param_config import SamplingConfig
from core.inference.token_stream import GenerationStats

PAUSE_S = float(os.environ.get("ASTRAI_SCRIPT_PAUSE_S", "0"))  # after each word
GATE = os.environ.get("ASTRAI_SCRIPT_GATE")
GONE_ON = "and it goes on."
UNSCRIPTED = "I have no words for that."


@dataclass
class ScriptedStream:
    """An answer, word by word."""

    answer: str
    prompt_ids: Sequence[str] = ()
    text: str = ""
    finish_reason: str | None = None
    stats: GenerationStats = field(default_factory=lambda: GenerationStats(9, 0, 9, 0.1, 30.0, 18, 4096))

    def __iter__(self) -> Iterator[str]:
        for word in self.answer.split(" "):
            time.sleep(PAUSE_S)
            piece = f" {word}" if self.text else word
            self.text += piece
            yield piece
            if self.finish_reason:
                return
        self.finish_reason = "stop"

    def cancel(self) -> None:
        self.finish_reason = self.finish_reason or "cancelled"


@dataclass
class ScriptedModel:
    """A model as large as one that can read; a token is a word."""

    script: Mapping[str, str]
    name: str = "scripted"
    quantization: str = "none"
    num_parameters: int = MIN_PARAMETERS
    max_seq_len: int = 4096
    fingerprint: str = "scripted"
    adapters: tuple[str, ...] = ()
    is_busy: bool = False
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    @property
    def tokenizer(self) -> "ScriptedModel":
        return self

    def encode(self, text: str) -> list[str]:
        return text.split()

    def spell(self, ids: Sequence[str]) -> str:
        return "".join(ids)

    def close(self) -> None:
        """Nothing is held."""

    def fitting(self, messages: Sequence[Any]) -> list[Any]:
        return list(messages)

    def chat(self, messages: Sequence[Mapping[str, str]], begun: str = "", **_: Any) -> ScriptedStream:
        question = messages[-1]["content"].rpartition("\n\n")[2]
        prompt = [f"<|{message['role']}|>{message['content']}\n" for message in messages]
        said = next((said for words, said in self.script.items() if words in question), UNSCRIPTED)
        return ScriptedStream(GONE_ON if begun else said, prompt)


class ScriptedModels(ModelHolder):
    """A holder of one model, which is there at once, beside those in the user's own folder."""

    def choices(self) -> list[ModelChoice]:
        own = [choice for choice in super().choices() if choice.path.parent == models_dir()]
        return [ModelChoice(model_name(), Path("scripted")), *own]

    def _open(self, choice: ModelChoice) -> tuple[Any, None]:
        while GATE and not Path(GATE).exists():
            time.sleep(0.05)
        return ScriptedModel(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), name=model_name()), None


def model_name() -> str:
    return sys.argv[2] if len(sys.argv) > 2 else "scripted"


if __name__ == "__main__":
    set_defaults()
    setattr(services, "ModelHolder", ScriptedModels)  # noqa: B010 - mypy knows no such assignment
    raise SystemExit(server.serve_page(port=0, opens_browser=False, model=None))
