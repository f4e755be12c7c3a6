import json
from pathlib import Path

import pytest
import torch

import core
from core.data.tokenizer import TURN_END, Tokenizer
from core.errors import DataError, ModelError
from core.evaluation import RewardScorer, evaluate_pairs, win_rate
from core.inference.generator import LanguageModel
from core.model.heads import load_reward_model
from tests.core.inference.test_language_model import save_tiny

PROMPT = [{"role": "user", "content": "the quick brown fox"}]
ANSWERS = ("jumps over a lazy dog", "sleeps", "今天天气很好")


@torch.no_grad()
def reward_of(reward_folder: Path, scorer: RewardScorer, answer: str) -> float:
    """The score at the end of the turn, of the whole conversation in one row."""
    group = scorer.group(PROMPT, [answer])
    ids = torch.tensor([[*group.prompt, *group.answers[0]]])
    return float(load_reward_model(reward_folder)(ids)[0, -1])


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_reward_is_the_score_at_the_end_of_the_turn(reward_folder: Path, scorer: RewardScorer) -> None:
    group = scorer.group(PROMPT, ANSWERS)
    end = load_tokens(reward_folder)[TURN_END]
    assert [answer[-1] for answer in group.answers] == [end] * 3
    expected = [reward_of(reward_folder, scorer, answer) for answer in ANSWERS]
    assert scorer.rewards([group])[0] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.gpu
def test_rewards_on_a_gpu_are_those_of_the_cpu(reward_folder: Path) -> None:
    rewards = []
    for device in ("cpu", "cuda"):
        scorer = RewardScorer.load(reward_folder, device=device)
        assert scorer.device.type == device
        rewards.append(scorer.rewards([scorer.group(PROMPT, ANSWERS)])[0])
    assert rewards[1] == pytest.approx(rewards[0], rel=1e-3, abs=1e-4)


def load_tokens(folder: Path) -> dict[str, int]:
    tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    return {token["content"]: token["id"] for token in tokens}


def test_accuracy_on_pairs_stands_beside_that_of_the_longer_answer(
    reward_folder: Path, scorer: RewardScorer, tmp_path: Path
) -> None:
    pairs = [(ANSWERS[0], ANSWERS[1]), (ANSWERS[1], ANSWERS[0]), (ANSWERS[2], ANSWERS[1])]
    rows = [{"messages": PROMPT, "chosen": good, "rejected": bad} for good, bad in pairs]
    score = evaluate_pairs(scorer, [write(tmp_path / "pairs.jsonl", rows)])[0]
    rewards = {answer: reward_of(reward_folder, scorer, answer) for answer in ANSWERS}
    assert score.accuracy == pytest.approx(sum(rewards[good] > rewards[bad] for good, bad in pairs) / 3)
    lengths = {answer: len(ids) for answer, ids in zip(ANSWERS, scorer.group(PROMPT, ANSWERS).answers, strict=True)}
    assert score.longer_wins == pytest.approx(sum(lengths[good] > lengths[bad] for good, bad in pairs) / 3)
    assert (score.num_pairs, score.num_left_out) == (3, 0)


def test_pairs_beyond_the_context_are_counted_and_files_without_pairs_refused(
    scorer: RewardScorer, tmp_path: Path
) -> None:
    good: dict[str, object] = {"messages": PROMPT, "chosen": "jumps", "rejected": "sleeps"}
    rows = [good, {**good, "chosen": "the fox " * 300}]
    score = evaluate_pairs(scorer, [write(tmp_path / "pairs.jsonl", rows)])[0]
    assert (score.num_pairs, score.num_left_out) == (1, 1)
    path = write(tmp_path / "chat.jsonl", [good, {"prompt": "the", "response": "fox"}])
    with pytest.raises(DataError, match=r"chat\.jsonl, line 2: sft data among pairs"):
        evaluate_pairs(scorer, [path])
    with pytest.raises(DataError, match="holds no pair that fits 256 tokens"):
        evaluate_pairs(scorer, [write(tmp_path / "long.jsonl", rows[1:])])


def test_a_model_that_gives_no_reward_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="is not a reward model"):
        RewardScorer.load(folder)


def test_a_model_ties_with_itself(model: LanguageModel, scorer: RewardScorer, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": text} for text in ("the fox", "一起去", "a river by the old tree")]
    result = win_rate(model, model, scorer, [write(tmp_path / "asked.jsonl", rows)], max_new_tokens=6)
    assert (result.wins, result.ties, result.losses, result.win_rate) == (0, 3, 0, 0.5)
    assert result.reward == result.other_reward


def test_the_model_whose_answers_have_the_higher_reward_wins(
    model: LanguageModel, scorer: RewardScorer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    prompts = [[{"role": "user", "content": text}] for text in ("the fox", "一起去", "a river by the old tree")]
    path = write(tmp_path / "asked.jsonl", [{"messages": prompt} for prompt in prompts])
    other = core.load(save_tiny(tokenizer, tmp_path / "other", seed=9))
    result = win_rate(model, other, scorer, [path], max_new_tokens=8, temperature=0)
    rewards = []
    for prompt in prompts:
        answers = [one.chat(prompt, max_new_tokens=8, temperature=0).read() for one in (model, other)]
        rewards.append(scorer.rewards([scorer.group(prompt, answers)])[0])
    assert result.wins == sum(left > right for left, right in rewards)
    assert result.reward == pytest.approx(sum(left for left, _ in rewards) / 3, rel=1e-3, abs=1e-4)
    swapped = win_rate(other, model, scorer, [path], max_new_tokens=8, temperature=0)
    assert (swapped.wins, swapped.losses) == (result.losses, result.wins)
    assert result.ties < 3


def test_both_models_draw_with_the_same_seed_for_a_prompt(
    model: LanguageModel, scorer: RewardScorer, tmp_path: Path
) -> None:
    path = write(tmp_path / "asked.jsonl", [{"prompt": "the fox"}] * 6)
    hot = win_rate(model, model, scorer, [path], max_new_tokens=8, temperature=5.0)
    assert hot.ties == 6
    texts = {model.chat(PROMPT, max_new_tokens=8, temperature=5.0, seed=seed).read() for seed in range(6)}
    assert len(texts) > 1


def test_prompts_without_room_for_an_answer_are_left_out(
    model: LanguageModel, scorer: RewardScorer, tmp_path: Path
) -> None:
    path = write(tmp_path / "asked.jsonl", [{"prompt": "the fox"}, {"prompt": "the fox " * 300}])
    assert win_rate(model, model, scorer, [path], max_new_tokens=4).num_left_out == 1
    with pytest.raises(DataError, match="None of 2 prompts leaves room for 256 tokens"):
        win_rate(model, model, scorer, [path], max_new_tokens=256)
    with pytest.raises(DataError, match=r"bad\.jsonl, line 1: no prompt among chosen"):
        win_rate(model, model, scorer, [write(tmp_path / "bad.jsonl", [{"chosen": "x"}])])
