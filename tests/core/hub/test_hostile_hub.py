"""A hub that lies, breaks off, misleads or has nothing of use: bounded, and said in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import DownloadError, ModelError
from core.hub.listing import Listing
from core.hub.places import RECORD, HubName, staging
from core.hub.transfer import MAX_ANSWER_BYTES, Hub
from tests.core.hub.conftest import NAMES
from tests.hub_server import FakeHub, Handler, entry, serving

WEIGHTS = "model.safetensors"
Fetch = Callable[..., Path]


def config(hub: FakeHub, **changes: Any) -> None:
    hub.files["config.json"] = json.dumps({**json.loads(hub.files["config.json"]), **changes}).encode()


def assert_whole(folder: Path, hub: FakeHub) -> None:
    assert {path.name for path in folder.iterdir()} == {*NAMES, RECORD}
    assert all((folder / name).read_bytes() == hub.files[name] for name in NAMES)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "/etc/evil.json",
        "sub/evil.json",
        "evil\n.json",
        "evil\x1b[2J.json",
        "..\\evil.json",
        "C:evil.json",
    ],
)
def test_names_that_lead_elsewhere_are_no_files(hub: FakeHub, fetch_here: Fetch, name: str) -> None:
    hub.extra = [entry(name, b"{}"), entry(name.replace("json", "safetensors"), b"{}")]
    folder = fetch_here()
    assert_whole(folder, hub)
    assert list(folder.parent.rglob("*evil*")) == []


@pytest.mark.parametrize(
    "claim",
    [
        {"size": -1},
        {"size": 2**70},
        {"size": "12"},
        {"size": True},
        {"size": None},
        {"lfs": {"sha256": "../x"}},
        {"lfs": 3},
        {"blobId": None, "lfs": None},
    ],
)
def test_a_size_or_hash_that_cannot_be_is_refused(hub: FakeHub, fetch_here: Fetch, claim: dict[str, Any]) -> None:
    hub.claims[WEIGHTS] = claim
    with pytest.raises(DownloadError, match=r"makes no sense: no size and hash of model\.safetensors"):
        fetch_here()


def test_more_than_the_disk_holds_is_refused_before_it_comes(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.claims[WEIGHTS] = {"size": 10**15}
    with pytest.raises(DownloadError, match=r"needs 1\.1 PB, the disk of .* has [\d,.]+ [MGT]B free\. Free some space"):
        fetch_here()
    assert hub.asked(WEIGHTS) == []


@pytest.mark.parametrize(("name", "size"), [("config.json", 5 * 2**20), ("tokenizer.json", 65 * 2**20)])
def test_a_small_file_of_absurd_size_is_refused(hub: FakeHub, fetch_here: Fetch, name: str, size: int) -> None:
    hub.claims[name] = {"size": size}
    with pytest.raises(DownloadError, match=rf"{name} .*\d,\d\d\d.* bytes"):
        fetch_here()


def test_two_files_of_one_name_are_refused(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.extra = [entry("Model.safetensors", b"x")]
    with pytest.raises(DownloadError, match="two files of one name"):
        fetch_here()


def endless(handler: Handler) -> bool:
    """Send for as long as anybody listens, to at most twice what may be read."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        for _ in range(2 * MAX_ANSWER_BYTES >> 20):
            handler.wfile.write(b"[" * (1 << 20))
    except OSError:
        pass
    handler.close_connection = True
    return True


def test_a_list_of_a_million_files_is_not_read(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.answer = endless
    with pytest.raises(DownloadError, match=r"answer about someone/some-model is longer than 33,554,432 bytes"):
        fetch_here()


def test_an_endless_file_is_read_to_its_size_and_refused(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.answer = lambda handler: handler.path.endswith(WEIGHTS) and endless(handler)
    with pytest.raises(DownloadError, match=r"6,635,656 of 6,635,656 bytes came, of SHA-256 [0-9a-f]{16}…"):
        fetch_here()
    assert hub.asked(WEIGHTS) == [None, None]


def test_a_file_changed_on_its_way_is_fetched_again(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.bodies[WEIGHTS] = bytes(len(hub.files[WEIGHTS]))
    assert_whole(fetch_here(), hub)
    assert hub.asked(WEIGHTS) == [None, None]


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        (WEIGHTS, {"lfs": {"sha256": "0" * 64}}),
        ("tokenizer.json", {"blobId": "0" * 40}),
        ("config.json", {"blobId": "0" * 40}),
    ],
)
def test_a_file_that_is_not_what_the_list_says_is_refused(
    hub: FakeHub, fetch_here: Fetch, tmp_path: Path, name: str, claim: dict[str, Any]
) -> None:
    hub.claims[name] = claim
    with pytest.raises(DownloadError, match=rf"{name} is not what the hub's list says.*0000000000000000…"):
        fetch_here()
    assert not (tmp_path / "model").exists()


def test_a_line_that_breaks_is_picked_up_where_it_broke(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.cut_after = 1_000_000
    assert_whole(fetch_here(), hub)
    assert hub.asked(WEIGHTS) == [None, "bytes=1000000-"]


def test_a_hub_without_ranges_sends_it_all_again(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.cut_after, hub.ignores_range = 1_000_000, True
    assert_whole(fetch_here(), hub)
    assert hub.asked(WEIGHTS) == [None, "bytes=1000000-"]


@pytest.mark.parametrize("lie", [-1000, 1000])
def test_a_wrong_content_length_is_not_believed(hub: FakeHub, fetch_here: Fetch, lie: int) -> None:
    content = hub.files[WEIGHTS]

    def answer(handler: Handler) -> bool:
        if not handler.path.endswith(WEIGHTS) or len(hub.asked(WEIGHTS)) > 1:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) + lie))
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True
        return True

    hub.answer = answer
    assert_whole(fetch_here(), hub)


def test_a_range_that_is_refused_begins_again(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.cut_after = 1_000_000

    def answer(handler: Handler) -> bool:
        is_range = handler.headers.get("Range") is not None
        if is_range:
            handler.send(416)
        return is_range

    hub.answer = answer
    assert_whole(fetch_here(), hub)
    assert hub.asked(WEIGHTS) == [None, "bytes=1000000-", None]


def test_a_hub_that_breaks_off_for_ever_is_given_up(hub: FakeHub, fetch_here: Fetch) -> None:
    def answer(handler: Handler) -> bool:
        is_weights = handler.path.endswith(WEIGHTS)
        if is_weights:
            handler.close_connection = True
        return is_weights

    hub.answer = answer
    with pytest.raises(DownloadError, match=r"breaks off again and again\. Start again; it goes on"):
        fetch_here()
    assert len(hub.asked(WEIGHTS)) == 5


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_later(hub: FakeHub, fetch_here: Fetch, status: int) -> None:
    left = [status, status]

    def answer(handler: Handler) -> bool:
        is_busy = bool(left)
        if is_busy:
            handler.send(left.pop(), headers={"Retry-After": "0"})
        return is_busy

    hub.answer = answer
    assert_whole(fetch_here(), hub)
    left.extend([status] * 9)
    with pytest.raises(DownloadError, match=rf"is too busy \(status {status}\)"):
        fetch_here()


def test_the_storage_may_be_another_host_and_the_list_may_not(hub: FakeHub, fetch_here: Fetch) -> None:
    with serving(FakeHub(hub.files)) as other:
        hub.storage_url = other
        assert_whole(fetch_here(), hub)
        hub.answer = lambda handler: handler.send(307, headers={"Location": f"{other}{handler.path}"}) or True
        with pytest.raises(DownloadError, match=r"redirects to http://'127\.0\.0\.1', which is not followed"):
            fetch_here()


def test_a_renamed_repository_is_followed_on_the_same_host(hub: FakeHub, fetch_here: Fetch) -> None:
    def answer(handler: Handler) -> bool:
        is_old = "/old/" in handler.path
        if is_old:
            handler.send(307, headers={"Location": handler.path.replace("old/name", hub.name)})
        return is_old

    hub.answer = answer
    assert_whole(fetch_here("old/name"), hub)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[::1", "http://127.0.0.1:99999999/x", "//\x7f/x"])
def test_a_redirect_to_what_is_no_address_is_refused(hub: FakeHub, fetch_here: Fetch, location: str) -> None:
    hub.answer = lambda handler: (
        handler.path.endswith(WEIGHTS) and (handler.send(302, headers={"Location": location}) or True)
    )
    with pytest.raises(DownloadError, match="redirects to"):
        fetch_here()


def test_redirects_in_a_circle_end(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.answer = lambda handler: handler.send(302, headers={"Location": handler.path}) or True
    with pytest.raises(DownloadError, match="redirects more than 5 times"):
        fetch_here()


def test_an_https_hub_may_not_lead_to_plain_http(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.example")
    with pytest.raises(DownloadError, match=r"redirects to http://'cdn\.example', which is not followed"):
        Hub(None, wait_s=0)._redirected("https://hub.example/a", "http://cdn.example/a", is_file=True)


@pytest.mark.parametrize(
    ("endpoint", "what"),
    [("http://hub.example", "HF_TOKEN would be sent there unencrypted"), ("ftp://x", "HF_ENDPOINT is 'ftp://x'")],
)
def test_an_endpoint_that_is_unsafe_or_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, what: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    with pytest.raises(DownloadError, match=what):
        Hub("hf_secret", wait_s=0)


def test_a_key_with_a_line_break_is_refused_without_being_shown() -> None:
    with pytest.raises(DownloadError, match=r"^HF_TOKEN holds characters that no token has\. Set it again"):
        Hub("hf_sec\nret", wait_s=0)


def test_a_changed_list_for_the_same_commit_does_not_write_into_the_model_that_is_here(
    hub: FakeHub, fetch_here: Fetch
) -> None:
    folder = fetch_here()
    partial = staging(folder) / "files"
    partial.mkdir(parents=True)
    (partial.parent / "commit").write_text(hub.commit)
    (partial / WEIGHTS).hardlink_to(folder / WEIGHTS)
    hub.claims[WEIGHTS] = {"lfs": {"sha256": "0" * 64}}
    with pytest.raises(DownloadError, match="is not what the hub's list says"):
        fetch_here()
    assert_whole(folder, hub)


def test_a_model_that_is_not_there_or_not_at_this_revision_is_said(hub: FakeHub, fetch_here: Fetch) -> None:
    with pytest.raises(DownloadError, match=r"There is no model no/such at http.*, or not for everyone"):
        fetch_here("no/such")
    with pytest.raises(DownloadError, match=r"someone/some-model has no v2\. http.*/commits/main shows"):
        fetch_here(revision="v2")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not supported"),
        ({"hidden_size": 0}, "config.json needs positive numbers"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised as 'gptq', which is not supported"),
        ({"quantization_config": ["x\x1b"]}, r"quantised as "),
    ],
)
def test_a_model_that_does_not_run_here_is_refused_before_its_weights(
    hub: FakeHub, fetch_here: Fetch, changes: dict[str, Any], what: str
) -> None:
    config(hub, **changes)
    with pytest.raises(ModelError, match=what):
        fetch_here()
    assert hub.asked(WEIGHTS) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_broken_config_is_refused(hub: FakeHub, fetch_here: Fetch, content: bytes) -> None:
    hub.files["config.json"] = content
    with pytest.raises(ModelError, match=r"config\.json (is not readable JSON|holds no object)"):
        fetch_here()


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (["config.json", "pytorch_model.bin"], r"only as a pickle \(pytorch_model\.bin\), which can run code"),
        (
            ["x-Q4.gguf", "x-Q8.gguf"],
            r"holds GGUF files\. Name one, as someone/some-model:FILE\.gguf: x-Q4\.gguf, x-Q8\.gguf",
        ),
        ([WEIGHTS], r"has no config\.json"),
        (["config.json", WEIGHTS], r"has no tokenizer\.json or tokenizer\.model"),
        (["config.json", "README.md"], r"has no model\.safetensors"),
    ],
)
def test_a_repository_without_usable_weights_says_what_it_has(
    hub: FakeHub, fetch_here: Fetch, files: list[str], what: str
) -> None:
    hub.files = {name: hub.files.get(name, b"x") for name in files}
    with pytest.raises(ModelError, match=what):
        fetch_here()


def test_a_gguf_file_that_is_not_there_names_those_that_are(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.files = {"x-Q4.gguf": b"x"}
    with pytest.raises(DownloadError, match=r"has no file x-Q8\.gguf\. It has x-Q4\.gguf"):
        fetch_here(f"{hub.name}:x-Q8.gguf")


def test_a_split_gguf_file_comes_with_all_its_parts(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.files = {f"x-0000{part}-of-00003.gguf": b"x" * part for part in (1, 2, 3)}
    names = sorted(hub.files)
    fetch_here(f"{hub.name}:{names[0]}")
    assert [name for name in names if hub.asked(name)] == names
    del hub.files[names[2]]
    with pytest.raises(DownloadError, match=rf"has no file {names[2]}\. It has {names[0]}, {names[1]}"):
        fetch_here(f"{hub.name}:{names[0]}")


def test_the_weights_of_astrais_own_checkpoints_are_known(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.files["state_dict.safetensors"] = hub.files.pop(WEIGHTS)
    hub.files["config.json"] = b'{"vocab_size": 10, "dim": 8}'
    folder = fetch_here()
    assert (folder / "state_dict.safetensors").read_bytes() == hub.files["state_dict.safetensors"]


def test_shards_are_those_of_the_index_and_no_others(hub: FakeHub, fetch_here: Fetch) -> None:
    content = hub.files.pop(WEIGHTS)
    shards = {f"model-0000{number}-of-00002.safetensors": content[:number] for number in (1, 2)}
    hub.files |= {**shards, "consolidated.safetensors": b"twice the size"}
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    folder = fetch_here()
    assert sorted(path.name for path in folder.glob("*.safetensors")) == sorted(shards)
    assert not any("consolidated" in request.path for request in hub.requests)


@pytest.mark.parametrize("name", ["missing.safetensors", "../x.safetensors", "/etc/passwd", "x.bin", 3])
def test_an_index_that_names_what_is_not_there_is_refused(hub: FakeHub, fetch_here: Fetch, name: object) -> None:
    hub.files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": name}}).encode()
    with pytest.raises(DownloadError, match=r"has no missing|that cannot be"):
        fetch_here()


@pytest.mark.parametrize("value", [None, [], {}, {"sha": "main", "siblings": []}, {"sha": "a" * 40, "siblings": {}}])
def test_an_answer_that_is_no_list_of_files_is_refused(value: object) -> None:
    with pytest.raises(DownloadError, match="makes no sense: no commit and files of a/b"):
        Listing.from_answer(HubName("a", "b"), value)


def test_what_is_no_hub_is_said(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.answer = lambda handler: handler.send(200, b"<html>Please sign in to the network</html>") or True
    with pytest.raises(DownloadError, match=r"is no hub: its answer is no JSON\. Look at HF_ENDPOINT"):
        fetch_here()
    hub.answer = lambda handler: handler.send(418) or True
    with pytest.raises(DownloadError, match="answers with status 418"):
        fetch_here()


def test_a_wrong_etag_on_the_way_to_the_storage_changes_nothing(hub: FakeHub, fetch_here: Fetch) -> None:
    hub.storage_url = hub.url
    assert_whole(fetch_here(), hub)
