"""A scalar head on a decoder: the reward model, and the value model that is the same network read at every token.

On disk it is Hugging Face's LlamaForSequenceClassification with one label (or its family's), which transformers
loads. Legend: B batch, T tokens, C hidden.
"""

from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.model_config import ModelConfig
from core.errors import ModelError
from core.model.folder import CONFIG, is_reward_model, read_json, refuse_links_outside
from core.model.transformer import Backbone
from core.model.weights import check_fit, stored_tensors


class RewardModel(Backbone):
    """How good an answer is: a score of the text up to each token; an answer's reward is that of its last token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)

    @classmethod
    def from_backbone(cls, backbone: Backbone, seed: int) -> Self:
        """A model that takes over (not copies) a decoder, under a fresh head of N(0, initializer_range)."""
        with torch.device("meta"):
            made = cls(backbone.config)
        made.model = backbone.model
        norm = backbone.model.norm.weight
        fresh = torch.empty(1, backbone.config.hidden_size)
        nn.init.normal_(fresh, std=backbone.config.initializer_range, generator=torch.Generator().manual_seed(seed))
        made.score.weight = nn.Parameter(fresh.to(norm.device, norm.dtype))
        return made

    def hf_config(self) -> dict[str, Any]:
        """The `config.json` of this model."""
        values = super().hf_config()
        names = [name.replace("ForCausalLM", "ForSequenceClassification") for name in values["architectures"]]
        labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        return {**values, "architectures": names, "num_labels": 1, **labels}

    def forward(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        branch_ids: Tensor | None = None,
    ) -> Tensor:
        """The score (B, T) at every token of input_ids (B, T); the other arguments are those of `hidden`."""
        return self.scores(
            self.hidden(input_ids, position_ids=position_ids, document_ids=document_ids, branch_ids=branch_ids)
        )

    def scores(self, hidden: Tensor) -> Tensor:
        """The scores (…) of hidden states (…, C), in fp32 whatever the autocast."""
        with torch.autocast(hidden.device.type, enabled=False):
            dtype = torch.promote_types(hidden.dtype, torch.float32)
            return F.linear(hidden.to(dtype), self.score.weight.to(dtype)).squeeze(-1)


def load_reward_model(
    path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> RewardModel:
    """Open the folder of a reward model; float weights become `dtype`, None keeps what is stored.

    Raises: ModelError for another kind of model, or naming the tensors that do not fit.
    """
    if not is_reward_model(path):
        raise ModelError("{path} is not a reward model.", "Train one with --stage rm.", path=path)
    refuse_links_outside(path)
    stored = stored_tensors(path)
    with torch.device("meta"):
        model = RewardModel(ModelConfig.from_hf(read_json(path / CONFIG)))
    check_fit(path.name, model.state_dict(), stored)
    model.load_state_dict({name: tensor.read().to(device, dtype) for name, tensor in stored.items()}, assign=True)
    return model.eval()
