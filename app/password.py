"""The password of a page that other machines reach: asked for once, kept as an scrypt hash, never in clear.

Source of the parameters: RFC 7914, and OWASP's password storage cheat sheet (N = 2^15, r = 8, p = 3 in 32 MiB).
"""

import getpass
import hashlib
import hmac
import os
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from core.errors import ConfigError
from core.files import read_json_object, write_json

VARIABLE = "ASTRAI_PASSWORD"
MIN_CHARS, MAX_CHARS = 10, 1024
COST, BLOCK_SIZE, PARALLELISM = 2**15, 8, 3
MAX_MEMORY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password; both parts in hexadecimal."""

    salt: str
    hash: str

    @classmethod
    def of(cls, password: str) -> Self:
        salt = secrets.token_bytes(16)
        return cls(salt.hex(), _scrypt(password, salt))

    def fits(self, password: str) -> bool:
        """Whether this is the password. Takes a tenth of a second and 32 MiB, on purpose."""
        return len(password) <= MAX_CHARS and hmac.compare_digest(
            _scrypt(password, bytes.fromhex(self.salt)), self.hash
        )


def choose_password(path: Path, given_file: Path | None) -> PasswordHash:
    """The hash of the password that was given by file or variable, else the one kept at `path`, else asked for here.

    A given one is kept. Raises: ConfigError when it is too short or none can be had.
    """
    kept = _read(path)
    given = _given(given_file)
    if given is None and kept is not None:
        return kept
    password = given or _ask()
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise ConfigError(
            f"The password has {len(password)} characters.", f"Give {MIN_CHARS} to {MAX_CHARS}; a sentence is good."
        )
    if kept is not None and kept.fits(password):
        return kept
    chosen = PasswordHash.of(password)
    write_json(path, {"scrypt": asdict(chosen)}, is_private=True)
    return chosen


def _read(path: Path) -> PasswordHash | None:
    if not path.exists():
        return None
    remedy = "Delete it and give the password again."
    values: Any = read_json_object(path, ConfigError, remedy).get("scrypt")
    try:
        bytes.fromhex(values["salt"])
        return PasswordHash(values["salt"], values["hash"])
    except (KeyError, TypeError, ValueError) as exc:
        raise ConfigError(f"{path} holds no password.", remedy) from exc


def _given(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(VARIABLE) or None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"The password cannot be read from {path}: {exc}.", "Give a file that holds it, in one line."
        ) from exc


def _ask() -> str:
    if not sys.stdin.isatty():
        raise ConfigError(
            "What other machines can reach needs a password, and none is set.",
            f"Give --password-file, set {VARIABLE}, or start it in a terminal, where it is asked for.",
        )
    password = getpass.getpass("Choose a password for the page: ")
    if password != getpass.getpass("Once more: "):
        raise ConfigError("The two passwords differ.", "Start again.")
    return password


def _scrypt(password: str, salt: bytes) -> str:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=COST, r=BLOCK_SIZE, p=PARALLELISM, maxmem=MAX_MEMORY_BYTES
    ).hex()
