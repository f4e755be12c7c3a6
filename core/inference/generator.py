"""Text in, text out: a loaded model that answers conversations and continues texts, many at once."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, overload

from core.config.param_config import SamplingConfig
from core.data.chat_template import ChatTemplate
from core.data.tokenizer import Tokenizer
from core.data.tool_messages import Message
from core.errors import BusyError, GenerationError
from core.inference import prefix_file
from core.inference.choose_runner import runner_for
from core.inference.constraint import Constraint, ConstraintCompiler
from core.inference.engine import Engine
from core.inference.loaded_adapters import LoadedAdapters, read_adapters
from core.inference.reply_memory import ReplyMemory
from core.inference.request import Request
from core.inference.runner import BLOCK_TOKENS
from core.inference.sampling import Sampler
from core.inference.scheduler import EngineConfig
from core.inference.token_stream import GenerationStats, Piece, Reply, TokenStream
from core.inference.tools import tool_use
from core.model.fingerprint import fingerprint, fingerprint_of
from core.model.lora import adapter_tensors
from core.model.transformer import Transformer

__all__ = ["GenerationStats", "LanguageModel", "Message", "Piece", "TokenStream"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a chat adds to the continuation of a prompt."""

    in_reasoning: bool = False
    forced: tuple[Mapping[str, Any], ...] = ()
    keeps_markup: bool = False
    remember: Callable[[str, list[int]], None] | None = None
    adapter: str | None = None


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
        base: Path | None = None,
        default_adapters: Sequence[Path] = (),
    ) -> None:
        """What holds where a call says nothing: `sampling`, None is SamplingConfig's own, and `default_adapters`,
        folders that stand on each other and on `base`, the model's own folder.
        """
        self.sampling = sampling or SamplingConfig()
        self.name, self.quantization, self.max_seq_len = name, quantization, max_seq_len
        self.tokenizer, self.config = tokenizer, model.config
        self.num_parameters = model.config.num_parameters
        self.chat_template = ChatTemplate(tokenizer)
        config = EngineConfig(
            max_seq_len=max_seq_len, max_running=max_running, speculation=speculation, kv_cache=kv_cache
        )
        mark = fingerprint(model)  # before the runner takes the weights over
        runner = runner_for(model, config)
        if default_adapters:
            adapter = read_adapters(default_adapters, runner)
            runner.add_adapter(None, adapter)
            mark += fingerprint_of(adapter_tensors(adapter))
        self.fingerprint = mark
        self._layout = prefix_file.layout_of(runner, mark)
        self.engine = Engine(runner, config)
        self.backend, self.weight_bytes = runner.name, runner.weight_bytes
        self._replies = ReplyMemory()
        self._adapters = LoadedAdapters(self.engine, runner, base)
        self._constraints = ConstraintCompiler(tokenizer, vocab_size=model.config.vocab_size)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        adapter: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] | None = None,
        keeps_markup: bool = False,
        begun: str = "",
        **sampling: Any,
    ) -> TokenStream:
        """Reply to a conversation of {"role", "content"} messages; see SamplingConfig for the options.

        `adapter` is the name of one that is loaded; `tools` and `tool_choice` have OpenAI's form. With
        `keeps_markup` the text spells the tags of reasoning and calls, for an AnswerParser. A reply that was `begun`
        is gone on with: the stream has what follows. Raises ConfigError
        for unknown options, GenerationError when the conversation does not fit or a form cannot be forced,
        BusyError when too many requests wait.
        """
        use = tool_use(tools, tool_choice)
        prompt_ids = self.chat_template.encode(
            messages, add_generation_prompt=True, tools=use.shown, exact_ids=self._replies.find(messages)
        )
        prompt_ids = [*prompt_ids, *self.tokenizer.encode(begun)] if begun else prompt_ids
        remember = None if begun else partial(self._replies.remember, [dict(message) for message in messages])
        plan = _Plan(
            in_reasoning=self.chat_template.opens_reasoning(prompt_ids),
            forced=use.forced,
            keeps_markup=keeps_markup,
            remember=remember,
            adapter=self.adapter_key(adapter),
        )
        return self._stream(prompt_ids, sampling, plan)

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

    def stream(self, prompt: str | Sequence[int], *, adapter: str | None = None, **sampling: Any) -> TokenStream:
        """Continue a plain text, or token ids just as they are. Raises as `chat` does."""
        plan = _Plan(adapter=self.adapter_key(adapter))
        if isinstance(prompt, str):
            prompt = [*self.tokenizer.start_ids, *self.tokenizer.encode(prompt)]
        return self._stream(list(prompt), sampling, plan)

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

    @property
    def adapters(self) -> list[str]:
        """The names that `adapter` can be, in the order of their loading."""
        return self._adapters.names

    def adapter_key(self, name: str | None) -> str | None:
        """What the engine calls an adapter; None is None. Raises GenerationError when no such adapter is loaded."""
        return self._adapters.key(name)

    def load_adapter(self, name: str, path: str | Path) -> None:
        """Read the adapter of a PEFT or run folder, to be served beside the weights as `adapter=name`.

        It takes memory for its own values alone, and answers under way go on meanwhile. Raises ModelError if it is of
        another model, of another shape, damaged, or neither LoRA nor DoRA.
        """
        self._adapters.load(name, path)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter; answers that have begun with it are finished. Raises ModelError if there is none."""
        self._adapters.unload(name)

    def save_prefix(self, path: Path, messages: Sequence[Message]) -> int:
        """Compute the beginning of conversations, keep it for good and write it to a file; how many tokens it has.

        Raises GenerationError for a beginning that is too short or too long, BusyError while there is no room,
        and OSError.
        """
        ids = self.chat_template.encode(messages, add_generation_prompt=False)
        ids = ids[: len(ids) // BLOCK_TOKENS * BLOCK_TOKENS]
        if not ids:
            raise GenerationError("A prefix has at least {least} tokens.", "Keep a longer text.", least=BLOCK_TOKENS)
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

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way or waits."""
        return self.engine.num_open > 0

    def close(self) -> None:
        """End all streams as cancelled, and the engine's thread; nothing can be generated afterwards."""
        self.engine.close()

    def _stream(self, prompt_ids: Sequence[int], options: Mapping[str, Any], plan: _Plan = _Plan()) -> TokenStream:
        sampling = SamplingConfig.from_dict({**self.sampling.to_dict(), **options})
        self.engine.check(prompt_ids)
        decoder = self.tokenizer.stream_decoder(keeps_markup=plan.keeps_markup)
        reply = Reply(decoder, sampling.stop, plan.remember)
        constraint = self._constraint(sampling, plan)
        request = Request(
            prompt_ids,
            Sampler(sampling, prompt_ids, vocab_size=self.config.vocab_size, constraint=constraint),
            reply,
            max_new_tokens=sampling.max_new_tokens,
            stop_ids=self.tokenizer.stop_ids | frozenset(sampling.stop_ids),
            adapter=plan.adapter,
        )
        return TokenStream(self.engine, request, reply, in_reasoning=plan.in_reasoning)

    def _constraint(self, sampling: SamplingConfig, plan: _Plan) -> Constraint | None:
        """What forces the form of the answer. A call of a tool goes before a schema."""
        if plan.forced:
            return self._constraints.tool_call(plan.forced, after_reasoning=plan.in_reasoning)
        if sampling.json_schema is not None:
            return self._constraints.json_schema(sampling.json_schema, after_reasoning=plan.in_reasoning)
        return None
