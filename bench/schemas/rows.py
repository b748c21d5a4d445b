"""Appends the result of each schema to a file, so that an interrupted run can resume."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

Row: TypeAlias = "dict[str, object]"
"""The result of one schema: ``id``, ``dataset`` and what was measured."""


class OtherRunError(Exception):
    """The file has rows of a run with other settings. The message names the file."""


class RowsFile:
    """Rows as JSON Lines, written one by one. The first line names the settings.

    Args:
        path: the file. Created if it does not exist.
        settings: settings that affect the rows. Rows of other settings are never mixed.
        fresh: whether to discard the rows of an earlier run.

    Attributes:
        rows: all rows so far.

    Raises:
        OtherRunError: the file has other settings.

    """

    def __init__(self, path: Path, settings: Row, *, fresh: bool = False) -> None:
        head = json.dumps({"settings": settings}, sort_keys=True)
        # A line without an end was cut by an interruption. Its schema is measured again.
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() and not fresh else b""
        lines = whole.decode().splitlines()
        if lines and lines[0] != head:
            raise OtherRunError(
                f"{path} is of a run with other settings: add --fresh, or name another file"
            )
        self.rows: list[Row] = [json.loads(line) for line in lines[1:]]
        self._done = {str(row["id"]) for row in self.rows}
        path.write_text("\n".join([*(lines or [head]), ""]))
        self._file = path.open("a")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def append(self, row: Row) -> None:
        """Adds a row and flushes it."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self.rows.append(row)
        self._done.add(str(row["id"]))
