"""Links that open a page which runs already, made by a second start from the secret of the installation.

A token is `time.nonce.signature`: good for a minute, for one port, and once.
"""

import hashlib
import hmac
import secrets
import time

VALID_S = 60.0


def login_token(secret: str, port: int) -> str:
    """A token for the page at a port. Whoever can read the secret is the user."""
    stamp = f"{time.time():.0f}.{secrets.token_urlsafe(16)}"
    return f"{stamp}.{_signature(secret, port, stamp)}"


class LoginLinks:
    """Judges such tokens for one page."""

    def __init__(self, secret: str, port: int) -> None:
        self._secret, self._port = secret, port
        self._used: dict[str, float] = {}  # token -> when it was made

    def take(self, token: str) -> bool:
        """Whether a token opens the page; it never does so again."""
        stamp, _, signature = token.rpartition(".")
        made = stamp.partition(".")[0]
        if not made.isdecimal() or len(made) > 12 or not token.isascii():
            return False
        now = time.time()
        self._used = {used: at for used, at in self._used.items() if abs(now - at) <= VALID_S}
        is_right = hmac.compare_digest(signature, _signature(self._secret, self._port, stamp))
        if not is_right or token in self._used or abs(now - int(made)) > VALID_S:
            return False
        self._used[token] = float(made)
        return True


def _signature(secret: str, port: int, stamp: str) -> str:
    return hmac.new(secret.encode(), f"login {port} {stamp}".encode(), hashlib.sha256).hexdigest()
