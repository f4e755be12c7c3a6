"""A data folder whose every text is a payload: what was chatted, named, noted, sampled, logged, preferred, indexed."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from app.conversation_rows import MAX_FOLDER_CHARS, MAX_TITLE_CHARS, Said
from app.conversations import Conversations
from app.downloads import FILE as DOWNLOADS_FILE
from app.downloads import Download, DownloadState
from app.library import MAX_NAME_CHARS
from app.model_names import FILE as NAMES_FILE
from app.model_names import MAX_CHARS as MAX_MODEL_CHARS
from app.personas import MAX_NAME_CHARS as MAX_PERSONA_CHARS
from app.personas import MAX_PERSONAS, Persona, Personas
from app.preference_rows import Answer, Origin, Pair, Review, Source
from app.preferences import Preferences
from app.receipt import FILE as RECEIPT_FILE
from app.receipt import Visit
from core.files import write_json
from rag import KnowledgeBase
from studio import JobStore
from studio.failures import Failure
from studio.job_folder import Attempt, End, JobFolder, JobSpec, JobState
from tests.browser.hostile_markup import EVERY

NUM_CHATS, NUM_RUNS, NUM_DOCUMENTS, NUM_MODELS = 13, 8, 8, 12
FACT = "The harbour ferry to Pellworm leaves Nordstrand at half past seven every morning."


def parts(count: int) -> list[list[str]]:
    """All payloads, in about equal parts."""
    return [list(EVERY[number::count]) for number in range(count)]


def lines(limit: int, count: int, offset: int = 0) -> list[str]:
    """That many payloads as names: in one line, printable and cut to a length."""
    return [_line(EVERY[(offset + 7 * number) % len(EVERY)])[:limit] for number in range(count)]


def _line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def file_names(count: int, ending: str) -> list[str]:
    """The same as names of files, in which there is no slash."""
    return [f"{number} {name.replace('/', '∕')[:70]}{ending}" for number, name in enumerate(lines(70, count, 3))]


def fill(home: Path, *, has_embedder: bool) -> None:
    """Write everything, through the stores that the program itself writes with."""
    _chats(Conversations(home / "conversations"))
    personas = Personas(home / "personas.json")
    for number, name in enumerate(lines(MAX_PERSONA_CHARS, MAX_PERSONAS)):
        personas.save(Persona.checked(name=name, system=EVERY[number], collections=[EVERY[number]]))
    _pairs(Preferences(home / "preferences"))
    store = JobStore(home / "studio")
    for number, payloads in enumerate(parts(NUM_RUNS)):
        _run(store, f"run-{number}", payloads)
    _models(home)
    _downloads(home)
    visits = [Visit(one[0], tuple(one[1:3]), time.time(), time.time(), 1, tuple(one[3:])) for one in parts(60)]
    write_json(home / RECEIPT_FILE, {"visits": [asdict(one) for one in visits]})
    if has_embedder:
        _documents(home)


def _chats(store: Conversations) -> None:
    titles, folders = lines(MAX_TITLE_CHARS, 200), lines(MAX_FOLDER_CHARS, 200)
    for title, folder in zip(titles[NUM_CHATS:], folders[NUM_CHATS:], strict=True):
        store.create(title=title, folder=folder)
    for number, payloads in enumerate(parts(NUM_CHATS)):
        chat = store.create(title=titles[number])
        parent = None
        for payload in payloads:
            parent = store.add(chat.id, "user", Said(payload), parent_id=parent)
            said = Said(payload, origin=Origin(model=_line(payload)), sources=payload)
            parent = store.add(chat.id, "assistant", said, parent_id=parent)
    store.close()


def _pairs(store: Preferences) -> None:
    def pair(number: int, payload: str) -> Pair:
        messages = [{"role": "system", "content": payload}, {"role": "user", "content": f"{payload} {number}"}]
        better, worse = (Answer(f"{payload} {side}", Origin(model=payload, version=payload)) for side in "ab")
        return Pair(number, messages, better, worse, Source.EDIT, Review.NEW, time.time())

    store.add(pair(number, payload) for number, payload in enumerate(EVERY))
    store.close()


def _run(store: JobStore, run: str, payloads: Sequence[str]) -> None:
    text, name = "\n".join(payloads), _line(" ".join(payloads))

    def fill_folder(folder: JobFolder) -> None:
        write_json(folder.config, {"stage": "sft", "base": text, text: text})
        folder.name.write_text(name[:200], encoding="utf-8")
        folder.note.write_text(text, encoding="utf-8")
        folder.stdout.write_text(text, encoding="utf-8")
        folder.stderr.write_text(text, encoding="utf-8")
        rows = [{"step": one, "prompt": one, "text": text} for one in payloads[:12]]
        (folder.root / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        metrics = [{"step": step, "loss": 1.0 / step, payloads[0]: payloads[0], payloads[1]: 1.0} for step in (1, 2, 3)]
        (folder.root / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in metrics), encoding="utf-8")
        folder.write_attempt(Attempt(1, "running", time.time()))
        failure = Failure("other", text, text)
        folder.write_end(1, End(JobState.FAILED, 1, time.time(), 1.0, 3, 3, failure))

    store.add(run, JobSpec("train", name, time.time(), metadata={"of": text}), fill_folder)


def _models(home: Path) -> None:
    names: dict[str, str] = {}
    for number, (folder_name, payload) in enumerate(zip(file_names(NUM_MODELS, ""), EVERY, strict=False)):
        folder = home / "models" / folder_name
        folder.mkdir(parents=True)
        config = {"architectures": [payload], "model_type": payload, "torch_dtype": payload}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"\0" * 16)
        (folder / "README.md").write_text(f"---\nlicense: {_line(payload)}\n---\n{payload}", encoding="utf-8")
        if number % 2:
            names[str(folder)] = lines(MAX_MODEL_CHARS, NUM_MODELS)[number]
    write_json(home / NAMES_FILE, names)


def _downloads(home: Path) -> None:
    sentences = ("The download ended unexpectedly ({reason}).", "What is here stays.")
    downloads = [
        Download(
            name=f"some/one-{number}", state=DownloadState.FAILED, file=payloads[0], commit=payloads[1],
            sentences=sentences, values={"reason": " ".join(payloads)},
        )
        for number, payloads in enumerate(parts(20))
    ]  # fmt: skip
    write_json(home / DOWNLOADS_FILE, {"downloads": [asdict(one) for one in downloads]})


def documents() -> Iterator[tuple[str, str]]:
    """Names and contents of documents: a heading, a cell and a paragraph of each payload, and a fact to ask for."""
    for name, payloads in zip(file_names(NUM_DOCUMENTS, ".md"), parts(NUM_DOCUMENTS), strict=True):
        blocks = [f"# {_line(one)}\n\n{FACT}\n\n{one}\n\n| a |\n|---|\n| {_line(one)} |" for one in payloads]
        yield name, "\n\n".join(blocks)


def _documents(home: Path) -> None:
    folder = home / "dropped"
    folder.mkdir()
    (home / "library").mkdir()
    with KnowledgeBase(home / "library") as library:
        for (name, text), collection in zip(documents(), lines(MAX_NAME_CHARS, NUM_DOCUMENTS), strict=True):
            (folder / name).write_text(text, encoding="utf-8")
            library.add([folder / name], collection)
