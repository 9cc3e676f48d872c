"""The secret of a cluster on one machine: made once, and kept beside the nodes' data."""

import secrets
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError

SECRET_BYTES: Final = 32


def shared_secret(path: Path) -> str:
    """Return the secret in `path`, which only its owner can read; one that is not there is made, with its directory.

    Raises `ConfigurationError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        path.chmod(0o600)
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        if isinstance(error, FileExistsError):
            reason = f"{path.parent} is not a directory"
        raise ConfigurationError([f"--data-dir: cannot keep the cluster's secret in {path}: {reason}"]) from error
    if not secret:
        raise ConfigurationError([f"--data-dir: {path} is empty: remove it, and a new secret is made"])
    return secret


def _make(path: Path) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_text(f"{secrets.token_hex(SECRET_BYTES)}\n", encoding="ascii")
    fresh.replace(path)  # whole, or not there: a crash here leaves no half a secret
