"""Results of single schemas in a file that grows, so that a run can go on after an interruption."""

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
    """The file holds rows of a run with other settings. The message says which file."""


class RowsFile:
    """Rows as JSON Lines, written one by one. The first line names the settings.

    Args:
        path: the file; made if it is not there.
        settings: what the rows depend on. Rows of other settings are never mixed.
        fresh: whether rows of an earlier run are thrown away.

    Attributes:
        rows: all rows so far.

    Raises:
        OtherRunError: the file's settings are others.

    """

    def __init__(self, path: Path, settings: Row, *, fresh: bool = False) -> None:
        head = json.dumps({"settings": settings}, sort_keys=True)
        # A line that was cut by an interruption has no end; its schema is done again.
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
        """Adds a row and writes it out at once."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self.rows.append(row)
        self._done.add(str(row["id"]))
