"""The decoder-only Transformer of Llama, Mistral, Qwen2 and Qwen3.

One class runs them all; `ModelConfig` says where they differ. Module names are Hugging Face's, so a
state dict is a checkpoint. Legend: B batch, T new tokens, S all tokens so far, C hidden, V vocab.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.config.model_config import ModelConfig
from core.errors import GenerationError
from core.model.attention import AttentionCache, choose_attention
from core.model.folder import AdapterBase
from core.model.layers import AttentionInput, Block, RMSNorm
from core.model.rope import rotary_table
from core.model.visibility import Visibility

# The rotary table begins with this many positions.
MIN_ROTARY_POSITIONS = 1024


class Decoder(nn.Module):
    """Embedding, blocks and final norm: Hugging Face's `model.` prefix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.vocab_size, config.hidden_size
        # Given, not drawn: a draw on the meta device imports torch's compiler, which takes two seconds.
        self.embed_tokens = nn.Embedding(*size, _weight=torch.empty(size))
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Backbone(nn.Module):
    """The decoder under a head: token ids in, hidden states out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.checkpoints_blocks = False
        """Whether training keeps the blocks' inputs alone and computes the rest again in the backward pass."""
        self.compiles_blocks = False
        """Whether whole rows go through blocks that torch.compile has translated."""
        self.adapter_base: AdapterBase | None = None
        """The frozen model whose adapters are trained here, if they are."""
        self._rotary: tuple[Tensor, Tensor] | None = None

    def hf_config(self) -> dict[str, Any]:
        """The `config.json` of this model."""
        return self.config.to_hf()

    def hidden(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        branch_ids: Tensor | None = None,
        kv_cache: AttentionCache | None = None,
    ) -> Tensor:
        """The normalised hidden states (B, T, C) that the head reads.

        With document_ids (B, T) a token attends within its own document only, and with branch_ids (B, T) there to
        branch 0, which all share, and to its own. Such rows may be longer than the context: positions must not.
        """
        assert document_ids is None or kv_cache is None, "document_ids are for training, which has no cache"
        assert branch_ids is None or (document_ids is not None and position_ids is not None)
        batch, time = input_ids.shape
        window, device = self.config.sliding_window, input_ids.device
        x = self.model.embed_tokens(input_ids)  # (B, T, C)
        if kv_cache is not None:
            end = kv_cache.begin(time, window, device)
            shared = AttentionInput(*self._cos_sin(end, time, position_ids, device), cache=kv_cache)
        else:
            end = time if document_ids is None else min(time, self.config.max_position_embeddings)
            visibility = Visibility(time, device, window, document_ids, branch_ids, position_ids)
            rows = choose_attention(
                visibility,
                batch,
                head_dim=self.config.head_dim,
                dtype=_compute_dtype(x),
                compiles=self.compiles_blocks,
            )
            angles = self._cos_sin(end, time, position_ids, device)
            shared = AttentionInput(*angles, rows=rows, compiles=self.compiles_blocks)
        is_checkpointed = self.checkpoints_blocks and torch.is_grad_enabled()
        for block in self.model.layers:
            if is_checkpointed:  # nothing in a block is drawn, so no random state is kept
                x = checkpoint(block, x, shared, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x, shared)
        if kv_cache is not None:
            kv_cache.finish(time)
        return self.model.norm(x)

    def _cos_sin(self, end: int, time: int, position_ids: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B or 1, 1, T, D) of the new tokens' positions, all below `end`."""
        limit = self.config.max_position_embeddings
        if end > limit:
            raise GenerationError(
                "{count} tokens do not fit the model's context of {most}.",
                "Shorten the conversation or start a new one.",
                count=end,
                most=limit,
            )
        if self._rotary is None or self._rotary[0].device != device or len(self._rotary[0]) < end:
            # Grown by doubling: a config may promise a context of millions that nobody uses.
            size = min(max(1 << (end - 1).bit_length(), MIN_ROTARY_POSITIONS), limit)
            with torch.inference_mode(mode=False):  # a pass that only looks may come first, one with gradients later
                self._rotary = rotary_table(self.config, size, device=device)
        cos, sin = self._rotary
        if position_ids is None:
            return cos[None, None, end - time : end], sin[None, None, end - time : end]
        return cos[position_ids][:, None], sin[position_ids][:, None]


def _compute_dtype(x: Tensor) -> torch.dtype:
    """What matrix products give for this input."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class Transformer(Backbone):
    """A causal language model: token ids in, logits of the next token out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.tie_head()

    def tie_head(self) -> None:
        """Let the head read the embedding's weights, and their scales if they are quantised."""
        for name in ("weight", "weight_scale"):
            if hasattr(self.model.embed_tokens, name):
                setattr(self.lm_head, name, getattr(self.model.embed_tokens, name))

    def init_weights(self, seed: int) -> None:
        """Fresh weights: N(0, initializer_range), the residual outputs smaller by 1/√(2L) (GPT-2)."""
        generator = torch.Generator().manual_seed(seed)
        residual = self.config.initializer_range / math.sqrt(2 * self.config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
                continue
            is_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            std = residual if is_residual else self.config.initializer_range
            nn.init.normal_(parameter, std=std, generator=generator)

    def forward(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        kv_cache: AttentionCache | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V), or (B, n, V) of the n `rows` of T that are wanted, for input_ids (B, T).

        position_ids (B, T), each below the number of tokens so far, default to counting on from the
        cache. With document_ids (B, T) a token attends only within its own document.
        Raises: GenerationError past max_position_embeddings.
        """
        x = self.hidden(input_ids, position_ids=position_ids, document_ids=document_ids, kv_cache=kv_cache)
        return self.lm_head(x if rows is None else x[:, rows])
