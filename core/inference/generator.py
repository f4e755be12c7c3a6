"""Text in, text out: a loaded model that answers conversations and continues texts, many at once."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from core.config.param_config import SamplingConfig
from core.data.chat_template import ChatTemplate
from core.data.tokenizer import Tokenizer
from core.errors import BusyError, GenerationError, ModelError
from core.inference import prefix_file
from core.inference.choose_runner import runner_for
from core.inference.constraint import ConstraintCompiler
from core.inference.engine import Engine
from core.inference.reply_memory import ReplyMemory
from core.inference.request import Request
from core.inference.runner import BLOCK_TOKENS
from core.inference.sampling import Sampler
from core.inference.scheduler import EngineConfig
from core.inference.token_stream import GenerationStats, Piece, Reply, TokenStream
from core.model.fingerprint import fingerprint
from core.model.lora import load_adapter
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
        mark = fingerprint(model)
        runner = runner_for(model, config)
        self._layout = prefix_file.layout_of(runner, mark)
        self.engine = Engine(runner, config)
        self.backend, self.weight_bytes = runner.name, runner.weight_bytes
        self._replies = ReplyMemory()
        self._adapters: set[str] = set()
        self._constraints = ConstraintCompiler(tokenizer, vocab_size=self.config.vocab_size)

    def chat(self, messages: Sequence[Message], *, adapter: str | None = None, **sampling: Any) -> TokenStream:
        """Reply to a conversation of {"role", "content"} messages; see SamplingConfig for the options.

        `adapter` is the name of one that was added. Raises ConfigError for unknown options, GenerationError for
        an unknown adapter or when the conversation does not fit, BusyError when too many requests wait.
        """
        prompt_ids = self.chat_template.encode(
            messages, add_generation_prompt=True, exact_ids=self._replies.find(messages)
        )
        conversation = [dict(message) for message in messages]
        remember = partial(self._replies.remember, conversation)
        return self._stream(prompt_ids, sampling, adapter=adapter, remember=remember)

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

    def stream(self, prompt: str, *, adapter: str | None = None, **sampling: Any) -> TokenStream:
        """Continue a plain text. Raises as `chat` does."""
        start = [] if self.tokenizer.bos_id is None else [self.tokenizer.bos_id]
        return self._stream([*start, *self.tokenizer.encode(prompt)], sampling, adapter=adapter)

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

    def add_adapter(self, name: str, folder: str | Path) -> None:
        """Read a LoRA adapter in PEFT's layout, for `adapter=name`. Raises ModelError if it does not fit the model."""
        if name in self._adapters:
            raise ModelError(f"There is an adapter {name!r} already.", "Give another name.")
        adapter = load_adapter(Path(folder), self.config)
        self.engine.call(lambda scheduler: scheduler.runner.add_adapter(name, adapter))
        self._adapters.add(name)

    def save_prefix(self, path: Path, messages: Sequence[Message]) -> int:
        """Compute the beginning of conversations, keep it for good and write it to a file; how many tokens it has.

        Raises GenerationError for a beginning that is too short or too long, BusyError while there is no room,
        and OSError.
        """
        ids = self.chat_template.encode(messages, add_generation_prompt=False)
        ids = ids[: len(ids) // BLOCK_TOKENS * BLOCK_TOKENS]
        if not ids:
            raise GenerationError(f"A prefix has at least {BLOCK_TOKENS} tokens.", "Keep a longer text.")
        self._stream(ids, {"max_new_tokens": 1}).read()
        content = self.engine.call(lambda scheduler: prefix_file.read_blocks(scheduler, ids))
        if content is None:
            raise BusyError("The cache had no room for the prefix.", "Try again when fewer answers are under way.")
        prefix_file.save(path, ids, content, self._layout)
        return len(ids)

    def load_prefix(self, path: Path) -> int:
        """Put back a saved prefix and keep it for good; how many tokens it has, 0 if the file cannot be used here."""
        loaded = prefix_file.load(path, self._layout)
        if loaded is None:
            return 0
        ids, content = loaded
        is_kept = self.engine.call(lambda scheduler: prefix_file.write_blocks(scheduler, ids, content))
        return len(ids) if is_kept else 0

    def close(self) -> None:
        """End all streams as cancelled, and the engine's thread; nothing can be generated afterwards."""
        self.engine.close()

    def _stream(
        self,
        prompt_ids: Sequence[int],
        options: Mapping[str, Any],
        *,
        adapter: str | None = None,
        remember: Callable[[str, list[int]], None] | None = None,
    ) -> TokenStream:
        sampling = SamplingConfig.from_dict({**self.sampling.to_dict(), **options})
        self.engine.check(prompt_ids)
        if adapter is not None and adapter not in self._adapters:
            known = ", ".join(sorted(self._adapters)) or "none"
            raise GenerationError(f"There is no adapter {adapter!r}; those that are loaded: {known}.", "Add it first.")
        reply = Reply(self.tokenizer.stream_decoder(), sampling.stop, remember)
        request = Request(
            prompt_ids,
            self._sampler(sampling, prompt_ids),
            reply,
            max_new_tokens=sampling.max_new_tokens,
            stop_ids=self.tokenizer.stop_ids.union(sampling.stop_ids),
            adapter=adapter,
        )
        return TokenStream(self.engine, request, reply)

    def _sampler(self, sampling: SamplingConfig, prompt_ids: Sequence[int]) -> Sampler:
        """What chooses the tokens, within a JSON schema where one is asked for."""
        schema = sampling.json_schema
        constraint = None if schema is None else self._constraints.json_schema(schema)
        return Sampler(sampling, prompt_ids, vocab_size=self.config.vocab_size, constraint=constraint)
