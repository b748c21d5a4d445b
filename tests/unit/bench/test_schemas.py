from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench.schemas.corpus import cases
from bench.schemas.report import grouped, layer_sums, markdown
from bench.schemas.rows import OtherRunError, RowsFile
from bench.schemas.second_validator import CannotValidateError, second_opinion

if TYPE_CHECKING:
    from pathlib import Path

    from bench.schemas.rows import Row


def test_run_resumes_after_its_last_complete_row(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with RowsFile(path, {"seed": 1}) as rows:
        rows.append({"id": "a"})
        rows.append({"id": "b"})
    path.write_bytes(path.read_bytes()[:-5])
    with RowsFile(path, {"seed": 1}) as rows:
        assert "a" in rows
        assert "b" not in rows
        rows.append({"id": "b"})
    with RowsFile(path, {"seed": 1}) as rows:
        assert [row["id"] for row in rows.rows] == ["a", "b"]


def test_rows_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    RowsFile(path, {"seed": 1}).__exit__(None, None, None)
    with pytest.raises(OtherRunError):
        RowsFile(path, {"seed": 2})
    with RowsFile(path, {"seed": 2}, fresh=True) as rows:
        assert rows.rows == []


def test_sample_depends_only_on_the_seed(tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"s{n}", "schema": {}, "tests": []}) for n in range(20)]
    for name in ("One", "Two"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))

    def chosen(seed: int) -> list[tuple[str, str]]:
        return [(case.dataset, case.key) for case in cases(tmp_path, max_schemas=5, seed=seed)]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
    assert len(chosen(1)) == 10
    assert len(list(cases(tmp_path, ["Two"]))) == 20


def test_every_schema_is_counted_once() -> None:
    times = {"seconds": 0.1, "compile_seconds": 0.1, "max_mask_seconds": 0.1}
    taken: Row = {**times, "wall_seconds": 0.2, "checked": [], "example": True, "valid": 2}
    lost: list[list[object]] = [[0, "engine"]]
    rows: list[Row] = [
        {"id": "a", "dataset": "Snowplow", **taken},
        {"id": "b", "dataset": "Snowplow", **taken, "checked": [["not", ""]], "valid_lost": lost},
        {"id": "c", "dataset": "Elsewhere", **taken, "invalid": 3, "invalid_passed": [1]},
        {"id": "d", "dataset": "Elsewhere", "wall_seconds": 0.2, "reason": "SCHEMA_INVALID"},
    ]
    result = grouped(rows, layer_sums)
    names = ("schemas", "accepted", "exact", "relaxed", "refused", "valid_lost", "invalid_passed")
    totals = result["totals"]
    assert isinstance(totals, dict)
    assert [totals["jsonschemabench"][name] for name in names] == [2, 2, 1, 1, 0, 1, 0]
    assert [totals["all"][name] for name in names] == [4, 3, 2, 1, 1, 1, 1]
    assert "| all | 4 | 75.0 % | 50.0 % | 1 | 1 | 1 of 6 | 1 of 3 |" in markdown(result)


def test_second_validator_reads_the_draft_and_asserts_formats() -> None:
    assert second_opinion('{"type": "string", "format": "date"}', '"2024-02-29"') is None
    assert second_opinion('{"type": "string", "format": "date"}', '"2023-02-29"') is not None
    draft4 = '"$schema": "http://json-schema.org/draft-04/schema#"'
    assert second_opinion(f'{{{draft4}, "maximum": 3, "exclusiveMaximum": true}}', "3") is not None
    with pytest.raises(CannotValidateError):
        second_opinion('{"$ref": "http://127.0.0.1:9/a.json"}', "1")
