"""Text in, text out: a loaded model that answers conversations and continues texts, many at once."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, overload

from core.config.param_config import SamplingConfig
from core.data.chat_template import ChatTemplate
from core.data.tokenizer import Tokenizer
from core.inference.choose_runner import runner_for
from core.inference.engine import Engine
from core.inference.reply_memory import ReplyMemory
from core.inference.request import Request
from core.inference.sampling import Sampler
from core.inference.scheduler import EngineConfig
from core.inference.token_stream import GenerationStats, Piece, Reply, TokenStream
from core.model.transformer import Transformer

__all__ = ["GenerationStats", "LanguageModel", "Message", "Piece", "TokenStream"]

Message = Mapping[str, str]


class LanguageModel:
    """A model that is ready to generate. Made by `core.load`; any thread may use it."""

    def __init__(  # noqa: PLR0913 - what a model is called, holds and runs on has no smaller whole
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str,
        quantization: str,
        max_seq_len: int,
        sampling: SamplingConfig | None = None,
        max_running: int = 8,
        speculation: bool = True,
        kv_cache: str = "fp16",
    ) -> None:
        """`sampling` is what holds where a call says nothing; None is SamplingConfig's own."""
        self.sampling = sampling or SamplingConfig()
        self.name, self.quantization, self.max_seq_len = name, quantization, max_seq_len
        self.tokenizer, self.config = tokenizer, model.config
        self.num_parameters = model.config.num_parameters
        self.chat_template = ChatTemplate(tokenizer)
        config = EngineConfig(
            max_seq_len=max_seq_len, max_running=max_running, speculation=speculation, kv_cache=kv_cache
        )
        runner = runner_for(model, config)
        self.engine = Engine(runner, config)
        self.backend, self.weight_bytes = runner.name, runner.weight_bytes
        self._replies = ReplyMemory()

    def chat(self, messages: Sequence[Message], **sampling: Any) -> TokenStream:
        """Reply to a conversation of {"role", "content"} messages; see SamplingConfig for the options.

        Raises ConfigError for unknown options, GenerationError when the conversation does not fit, BusyError
        when too many requests wait.
        """
        prompt_ids = self.chat_template.encode(
            messages, add_generation_prompt=True, exact_ids=self._replies.find(messages)
        )
        conversation = [dict(message) for message in messages]
        return self._stream(prompt_ids, sampling, partial(self._replies.remember, conversation))

    def fitting(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation without its oldest turns, so that a quarter of the context is left for the answer.

        A system message and the last question stay, however long they are.
        """
        kept = list(messages)
        first = int(bool(kept) and kept[0]["role"] == "system")
        room = self.max_seq_len - self.max_seq_len // 4
        while len(kept) - first > 1 and len(self.chat_template.encode(kept, add_generation_prompt=True)) > room:
            del kept[first]
            while len(kept) - first > 1 and kept[first]["role"] != "user":
                del kept[first]
        return kept

    def stream(self, prompt: str, **sampling: Any) -> TokenStream:
        """Continue a plain text. Raises as `chat` does."""
        return self._stream([*self.tokenizer.start_ids, *self.tokenizer.encode(prompt)], sampling)

    @overload
    def generate(self, prompt: str, **sampling: Any) -> str: ...

    @overload
    def generate(self, prompt: list[str], **sampling: Any) -> list[str]: ...

    def generate(self, prompt: str | list[str], **sampling: Any) -> str | list[str]:
        """The continuation of one text, or of each in a list, in order; a list is computed in batches."""
        if isinstance(prompt, str):
            return self.stream(prompt, **sampling).read()
        texts: list[str] = []
        streams: deque[TokenStream] = deque()
        for text in prompt:
            if len(streams) == 2 * self.engine.config.max_running:  # some wait, so that no slot is ever empty
                texts.append(streams.popleft().read())
            streams.append(self.stream(text, **sampling))
        return [*texts, *(stream.read() for stream in streams)]

    def close(self) -> None:
        """End all streams as cancelled, and the engine's thread; nothing can be generated afterwards."""
        self.engine.close()

    def _stream(
        self,
        prompt_ids: Sequence[int],
        options: Mapping[str, Any],
        remember: Callable[[str, list[int]], None] | None = None,
    ) -> TokenStream:
        sampling = SamplingConfig.from_dict({**self.sampling.to_dict(), **options})
        self.engine.check(prompt_ids)
        reply = Reply(self.tokenizer.stream_decoder(), sampling.stop, remember)
        request = Request(
            prompt_ids,
            Sampler(sampling, prompt_ids, vocab_size=self.config.vocab_size),
            reply,
            max_new_tokens=sampling.max_new_tokens,
            stop_ids=self.tokenizer.stop_ids,
        )
        return TokenStream(self.engine, request, reply)
