"""AstrAI's own checkpoints against a reference written from its documented formulas: neighbours rotate, norm, gate."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from core.config.model_config import ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.model.checkpoint import load_config, load_model, save_model
from core.model.convert import export, quantize
from core.model.transformer import Transformer
from tests.core.model.cached import cached_logits

VOCAB, WIDTH, LAYERS, FFN, HEADS, KV_HEADS, DIM, EPS = 90, 32, 2, 48, 4, 2, 8, 1e-5
SPELLINGS: dict[str, dict[str, Any]] = {
    "of KHAOSZ": {
        "vocab_size": VOCAB,
        "n_dim": WIDTH,
        "n_head": HEADS,
        "n_layer": LAYERS,
        "m_len": 128,
        "norm_eps": EPS,
        "d_ffn": FFN,
        "n_kvhead": KV_HEADS,
    },
    "of 2026-01": {
        "vocab_size": VOCAB,
        "dim": WIDTH,
        "n_layers": LAYERS,
        "norm_eps": EPS,
        "dim_ffn": FFN,
        "max_len": 128,
        "rope_theta": 10000.0,
        "n_heads": HEADS,
        "n_kv_heads": KV_HEADS,
        "use_qk_norm": None,
        "use_gated_attention": None,
    },
    "of 2026-07": {
        "model_type": "autoregressive_lm",
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "rms_norm_eps": EPS,
        "intermediate_size": FFN,
        "max_position_embeddings": 128,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "attn_type": "gqa",
        "ffn_type": "mlp",
        "rope_scaling": None,
        "neftune_alpha": 0.0,
    },
}
OLD = {"norm1": "norm_attn", "norm2": "norm_ffn", "mlp": "ffn"}
NEW = {"norm1": "input_norm", "norm2": "post_attention_norm", "mlp": "mlp"}


def weights(names: dict[str, str], *, has_norm: bool = False, has_gate: bool = False) -> dict[str, Tensor]:
    """Random tensors of one layer naming, without embedding and head."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    found = {"norm.weight": 1 + draw(WIDTH)}
    for layer in range(LAYERS):
        place = f"layers.{layer}"
        found |= {
            f"{place}.attention.q_proj.weight": draw(HEADS * DIM, WIDTH),
            f"{place}.attention.k_proj.weight": draw(KV_HEADS * DIM, WIDTH),
            f"{place}.attention.v_proj.weight": draw(KV_HEADS * DIM, WIDTH),
            f"{place}.attention.o_proj.weight": draw(WIDTH, HEADS * DIM),
            f"{place}.{names['norm1']}.weight": 1 + draw(WIDTH),
            f"{place}.{names['norm2']}.weight": 1 + draw(WIDTH),
            f"{place}.{names['mlp']}.up.weight": draw(FFN, WIDTH),
            f"{place}.{names['mlp']}.gate.weight": draw(FFN, WIDTH),
            f"{place}.{names['mlp']}.down.weight": draw(WIDTH, FFN),
        }
        if has_norm:
            found |= {f"{place}.attention.{name}_norm.weight": 1 + draw(DIM) for name in "qk"}
        if has_gate:
            found[f"{place}.attention.gate.weight"] = draw(HEADS * DIM, WIDTH)
    return found


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * weight


def rotate(x: Tensor) -> Tensor:
    """Neighbours as complex numbers times e^(i·position·θ^(-2j/D)): (T, H, D)."""
    time = x.shape[0]
    frequencies = 10000.0 ** (-torch.arange(0, DIM, 2, dtype=torch.float64) / DIM)
    angles = torch.arange(time, dtype=torch.float64)[:, None] * frequencies
    turn = torch.polar(torch.ones_like(angles), angles)[:, None].to(torch.complex64)
    return torch.view_as_real(torch.view_as_complex(x.view(time, -1, DIM // 2, 2)) * turn).reshape(x.shape)


def reference_attention(x: Tensor, layer: dict[str, Tensor]) -> Tensor:
    time = x.shape[0]
    q = rotate((x @ layer["q_proj"].T).view(time, HEADS, DIM))
    k = rotate((x @ layer["k_proj"].T).view(time, KV_HEADS, DIM))
    v = (x @ layer["v_proj"].T).view(time, KV_HEADS, DIM)
    if "q_norm" in layer:
        q, k = rms(q, layer["q_norm"]), rms(k, layer["k_norm"])
    k, v = k.repeat_interleave(HEADS // KV_HEADS, 1), v.repeat_interleave(HEADS // KV_HEADS, 1)
    scores = torch.einsum("thd,shd->hts", q, k) / DIM**0.5
    mask = torch.ones(time, time, dtype=torch.bool).tril()
    y = torch.einsum("hts,shd->thd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v).reshape(time, -1)
    if "gate" in layer:
        y = y * torch.sigmoid(x @ layer["gate"].T)
    return y @ layer["o_proj"].T


def reference(
    tensors: dict[str, Tensor], names: dict[str, str], embedding: Tensor, head: Tensor, ids: Tensor
) -> Tensor:
    """Logits (T, V) of one text."""
    x = embedding[ids]
    for number in range(LAYERS):
        place = f"layers.{number}."
        own = {name.removeprefix(place): tensor for name, tensor in tensors.items() if name.startswith(place)}
        attention = {name.split(".")[1]: tensor for name, tensor in own.items() if name.startswith("attention.")}
        x = x + reference_attention(rms(x, own[f"{names['norm1']}.weight"]), attention)
        y = rms(x, own[f"{names['norm2']}.weight"])
        up, gate, down = (own[f"{names['mlp']}.{part}.weight"] for part in ("up", "gate", "down"))
        x = x + (y @ up.T * F.silu(y @ gate.T)) @ down.T
    return rms(x, tensors["norm.weight"]) @ head.T


EMBEDDING = torch.randn(VOCAB, WIDTH, generator=torch.Generator().manual_seed(6)) * 0.3
HEAD = torch.randn(VOCAB, WIDTH, generator=torch.Generator().manual_seed(7)) * 0.3
IDS = torch.randint(0, VOCAB, (40,), generator=torch.Generator().manual_seed(8))


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], name: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / name)
    return folder


@torch.no_grad()
def agrees(folder: Path, expected: Tensor) -> Transformer:
    """The model of a folder, whose logits with and without cache are the expected ones."""
    model = load_model(folder)
    torch.testing.assert_close(model(IDS[None])[0], expected, atol=1e-5, rtol=0)
    logits = cached_logits(model, IDS[None], [(begin, begin + 8) for begin in range(0, 40, 8)])
    torch.testing.assert_close(logits[0], expected, atol=1e-5, rtol=0)
    return model


def test_generation_a_has_a_bare_embedding_and_is_tied(tmp_path: Path) -> None:
    tensors = weights(OLD)
    folder = write(tmp_path, {**SPELLINGS["of KHAOSZ"], "tie_weight": True}, {**tensors, "embedding": EMBEDDING})
    model = agrees(folder, reference(tensors, OLD, EMBEDDING, EMBEDDING, IDS))
    assert (model.config.model_type, model.config.tie_word_embeddings) == ("llama", True)


def test_generation_b_untied_has_a_head_of_its_own(tmp_path: Path) -> None:
    tensors = weights(OLD)
    both = {"embed_tokens.weight": EMBEDDING, "lm_head.weight": HEAD}
    model = agrees(
        write(tmp_path, SPELLINGS["of 2026-01"], {**tensors, **both}), reference(tensors, OLD, EMBEDDING, HEAD, IDS)
    )
    assert not model.config.tie_word_embeddings


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_generation_c_is_read_in_every_spelling_of_its_config(tmp_path: Path, spelling: str) -> None:
    tensors = weights(NEW)
    folder = write(tmp_path, SPELLINGS[spelling], {**tensors, "embed_tokens.weight": EMBEDDING})
    model = agrees(folder, reference(tensors, NEW, EMBEDDING, EMBEDDING, IDS))
    assert model.config.max_position_embeddings == 128


def test_a_training_checkpoint_with_the_prefix_of_ddp_is_read_when_a_config_is_put_beside_it(tmp_path: Path) -> None:
    tensors = weights(NEW)
    stored = {f"module.{name}": tensor for name, tensor in {**tensors, "embed_tokens.weight": EMBEDDING}.items()}
    folder = write(tmp_path, SPELLINGS["of 2026-01"], stored, "state_dict.safetensors")
    agrees(folder, reference(tensors, NEW, EMBEDDING, EMBEDDING, IDS))


@pytest.mark.parametrize(("has_norm", "has_gate"), [(True, False), (False, True), (True, True)])
def test_norm_after_rope_and_gate_run_and_are_saved_and_read_again(
    tmp_path: Path, has_norm: bool, has_gate: bool
) -> None:
    tensors = weights(NEW, has_norm=has_norm, has_gate=has_gate)
    config = {**SPELLINGS["of 2026-07"], "use_qk_norm": has_norm, "use_gated_attention": has_gate}
    folder = write(tmp_path / "theirs", config, {**tensors, "embed_tokens.weight": EMBEDDING, "lm_head.weight": HEAD})
    expected = reference(tensors, NEW, EMBEDDING, HEAD, IDS)
    model = agrees(folder, expected)
    assert (model.config.model_type, model.config.qk_norm_after_rope) == ("astrai", has_norm)
    assert sum(parameter.numel() for parameter in model.parameters()) == model.config.num_parameters
    save_model(model, tmp_path / "ours")
    assert agrees(tmp_path / "ours", expected).config == model.config


def test_other_forms_than_ours_are_refused_for_the_options_that_no_other_program_runs(
    tmp_path: Path, astrai_tokenizer: Path
) -> None:
    config = {**SPELLINGS["of 2026-07"], "use_gated_attention": True}
    tensors = {**weights(NEW, has_gate=True), "embed_tokens.weight": torch.randn(VOCAB, WIDTH)}
    write(astrai_tokenizer, config, tensors)
    with pytest.raises(ModelError, match="own gate or q/k norm after RoPE, which transformers does not run"):
        export(astrai_tokenizer, tmp_path / "hf")
    with pytest.raises(ModelError, match="of the family astrai, which no other program runs"):
        export(astrai_tokenizer, tmp_path / "x.gguf", to="gguf")
    with torch.no_grad():
        int8 = load_model(quantize(astrai_tokenizer, tmp_path / "int8"), dtype=torch.float32)(IDS[None])
        exact = load_model(astrai_tokenizer)(IDS[None])
    assert (int8 - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_type": "mla"}, "AstrAI's attn_type 'mla' is not supported. Only gqa is"),
        ({"ffn_type": "moe"}, "AstrAI's ffn_type 'moe' is not supported. Only mlp is"),
        ({"rope_scaling": {"factor": 4.0}}, r"AstrAI's rope_scaling .* is not supported"),
        ({"model_type": "embedding"}, "AstrAI's model_type 'embedding' is not supported"),
        ({"num_hidden_layers": None}, "needs positive numbers: num_hidden_layers is 'missing'"),
    ],
)
def test_what_we_do_not_run_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, {**SPELLINGS["of 2026-07"], **change}, weights(NEW))
    with pytest.raises(ModelError, match=message):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("layers.0.attention.kv_a_proj.weight", r"latent attention \(MLA\)"),
        ("layers.1.mlp.router.weight", r"a mixture of experts \(MoE\)"),
        ("layers.1.mlp.routed_experts.0.up.weight", r"a mixture of experts \(MoE\)"),
    ],
)
def test_experts_and_latent_attention_are_refused_by_their_tensors_too(tmp_path: Path, name: str, what: str) -> None:
    write(tmp_path, SPELLINGS["of 2026-01"], {**weights(NEW), name: torch.zeros(2, 2)})
    with pytest.raises(ModelError, match=f"This AstrAI model has {what}: {name}"):
        load_model(tmp_path)


def test_the_published_shapes_have_the_published_numbers_of_parameters(tmp_path: Path) -> None:
    shape = {"vocab_size": 100000, "n_dim": 1536, "n_layer": 24, "d_ffn": 6912, "n_head": 24, "n_kvhead": 4}
    write(tmp_path, {**shape, "m_len": 2048, "norm_eps": 1e-5, "tie_weight": True}, weights(OLD))
    assert load_config(tmp_path).num_parameters == 1_050_207_744


@pytest.fixture
def astrai_tokenizer(tmp_path: Path) -> Path:
    """A folder with the tokenizer.json of the first generations alone: BBPE, control tokens first and last."""
    import tokenizers

    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"<bos>": 0, "<eos>": 1, "<pad>": 2, "a": 3}, merges=[]))
    model.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.NFC(), tokenizers.normalizers.Strip()])
    model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.UnicodeScripts(), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model.decoder = tokenizers.decoders.ByteLevel()
    model.add_special_tokens(["<bos>", "<eos>", "<pad>", "<|im_start|>", "<|im_end|>"])
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    model.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_without_its_config_knows_how_texts_and_turns_end(astrai_tokenizer: Path) -> None:
    tokenizer = Tokenizer.load(astrai_tokenizer)
    assert (tokenizer.eos_id, tokenizer.start_ids) == (1, [])
    assert tokenizer.stop_ids >= {1, tokenizer.added_tokens["<|im_end|>"]}
    assert tokenizer.encode("a<eos>") == [3]


def test_a_config_that_was_written_here_is_not_taken_for_theirs() -> None:
    config = ModelConfig(model_type="astrai", qk_norm=True, qk_norm_after_rope=True, gated_attention=True)
    assert ModelConfig.from_hf(config.to_hf()) == config
    plain = ModelConfig(model_type="llama")
    assert ModelConfig.from_hf({**plain.to_hf(), "gated_attention": True}) == plain
