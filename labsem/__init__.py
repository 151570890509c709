"""labsem: uncertainty-aware particle morphology from a desktop SEM, in a closed loop with a planner."""

from __future__ import annotations

import importlib.util
from pathlib import Path

__version__ = "0.1.0"


def _check_companions() -> None:
    """Refuse to run beside a foreign package named ``schemas``, ``drivers`` or ``services``."""
    home = Path(__file__).resolve().parent.parent
    for name in ("schemas", "drivers", "services"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ImportError(
                f"labsem's package {name!r} is missing beside {home / 'labsem'}; install labsem again"
            )
        found = Path(spec.origin).resolve().parent.parent
        if found != home:
            raise ImportError(
                f"{found / name} shadows labsem's own package {name!r} in {home}; "
                f"rename that folder or run from another one"
            )


_check_companions()
