"""What has been read of the settings so far: values, where they were written, and what is wrong with them.

Not for: reading the sources (`sources`), or what settings ask of one another (`sources`, `cluster`).
"""

from typing import Any

from node.configuration import values
from node.configuration.model import DEFAULT_PORT
from node.configuration.settings import BY_FIELD, Setting


class Collected:
    """The values read so far, from the weakest source to the strongest, and what was wrong with them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        """For each value what `--print-config` names as the place where it was written."""
        self._places: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def take(self, setting: Setting, written: Any, place: str, origin: str) -> None:
        """Read one value; `place` is what a refusal names, `origin` what `--print-config` names."""
        try:
            value = setting.read(written)
            if setting.field == "listen":
                for part in value:
                    values.address(part, DEFAULT_PORT)
        except values.UnusableValueError as error:
            self.problems.append(f"{place}: {error}")
            return
        self.values[setting.field] = value
        self.origins[setting.field] = origin
        self._places[setting.field] = place

    def place(self, field: str) -> str:
        """Return the place where a field's value was written; its flag where nobody wrote it."""
        return self._places.get(field, BY_FIELD[field].flag)
