"""The exact ids of the model's own replies, so that a conversation that comes back is the one it computed.

A text has many spellings in tokens and the model need not have chosen the tokenizer's. Encoded again, a reply
could differ from what the cache holds, and all after it would be computed anew. A reply is known by the
conversation before it and its text; nothing that a user writes is ever read as ids.
"""

import hashlib
import json
import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence

# Of 4 bytes each: as many as a dozen long conversations have.
MAX_TOKENS = 1 << 17


class ReplyMemory:
    """The most recent replies, up to MAX_TOKENS tokens. Safe from any thread."""

    def __init__(self, *, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens, self._num_tokens = max_tokens, 0
        self._replies: OrderedDict[bytes, array[int]] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, conversation: Sequence[Mapping[str, object]], text: str, ids: Sequence[int]) -> None:
        """The model answered a conversation with this text, in these ids."""
        if not text or len(ids) > self._max_tokens:
            return
        key = _keys([*conversation, {"role": "assistant", "content": text}])[-1]
        with self._lock:
            self._forget(key)
            self._replies[key] = array("i", ids)
            self._num_tokens += len(ids)
            while self._num_tokens > self._max_tokens:
                self._forget(next(iter(self._replies)))

    def find(self, conversation: Sequence[Mapping[str, object]]) -> dict[int, Sequence[int]]:
        """The ids of those of a conversation's messages that the model wrote, by index."""
        if not self._replies:
            return {}
        found: dict[int, Sequence[int]] = {}
        with self._lock:
            for index, key in enumerate(_keys(conversation)):
                if key in self._replies:
                    self._replies.move_to_end(key)
                    found[index] = self._replies[key]
        return found

    def _forget(self, key: bytes) -> None:
        self._num_tokens -= len(self._replies.pop(key, ()))


def _keys(conversation: Sequence[Mapping[str, object]]) -> list[bytes]:
    """For each message a hash of it and all before it."""
    digest = hashlib.sha256()
    keys = []
    for message in conversation:
        part = json.dumps([message.get(field) for field in ("role", "content", "tool_calls")], default=str).encode()
        digest.update(len(part).to_bytes(8, "little") + part)
        keys.append(digest.digest())
    return keys
