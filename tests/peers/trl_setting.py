"""What the workers that run in a Python with TRL share."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

# Of every trainer's config: one process on the CPU in fp32 that tells nobody.
FIXED = {"bf16": False, "use_cpu": True, "report_to": [], "gradient_checkpointing": False, "disable_tqdm": True}


def tokenizer(pad_id):
    """What a trainer asks for, though it is given token ids: names of the padding and of an end."""
    words = Tokenizer(WordLevel({"<pad>": pad_id, "<eos>": 0}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
