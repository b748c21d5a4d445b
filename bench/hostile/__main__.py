"""Attacks a real server with hostile schemas while eight streams run: ``python -m bench.hostile``.

The run starts with as many ordinary calls as the flood has, each with its own schema, because vLLM
keeps memory for every batch shape that it has seen. Memory that an attack takes must be returned.
Attackers and honest callers have their own tokens, because the server shares its schema workers by
caller. Phases: honest callers only, every case one by one, cases eight at a time, many different
slow schemas at once, one schema with a large grammar repeatedly, a flood of small schemas, the
floods of other calls in `floods`, honest callers only again. Prints Markdown, writes JSON to
``--out``, and exits with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.callers_file import write_callers
from bench.hostile.attack import Attacker
from bench.hostile.cases import borne
from bench.hostile.catalogue import CASES
from bench.hostile.floods import FLOODS
from bench.hostile.identities import HONEST_TOKEN, TOKENS
from bench.hostile.processes import observe
from bench.hostile.report import Phase, broken_promises, figures, markdown, missed_aims
from bench.hostile.traffic import Experience, Traffic
from bench.support.server_process import ServerProcess
from bench.support.tiny_model import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from bench.hostile.cases import Case

WARM_SECONDS = 5.0
REST_SECONDS = 5.0
SLOW_AT_ONCE = 40
FLOOD_AT_ONCE = 16
LARGE_TIMES = 40
CACHE_BLOCKS = 1_024
_ROOM = 1_000_000
_BUSY = frozenset({"OVERLOADED"})


def main() -> int:
    """Runs every phase and reports."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--out", type=Path, help="file for the result as JSON")
    parser.add_argument("--model", default="tiny", help="tiny, embedded, or a model's folder")
    parser.add_argument(
        "--only",
        default="",
        help="cases and phases whose names contain this, or one of several with commas between "
        "them; floods for all floods",
    )
    parser.add_argument("--quiet-seconds", type=float, default=30.0, help="phases without attack")
    parser.add_argument("--flood", type=int, default=2_000, help="schemas of the flood")
    options = parser.parse_args()
    arguments = []
    if options.model != "embedded":
        model = str(make_tiny_model()) if options.model == "tiny" else options.model
        arguments = ["--model", model]
    with tempfile.TemporaryDirectory(prefix="genir-hostile-") as folder:
        # A small KV cache, because its memory grows with use and would look like a leak.
        arguments += ["--engine-args", f"num_gpu_blocks_override={CACHE_BLOCKS}"]
        arguments += ["--auth-file", str(write_callers(Path(folder), TOKENS))]
        server = ServerProcess(Path(folder), arguments)
        try:
            server.wait_ready(token=HONEST_TOKEN)
            return asyncio.run(_run(server, options))
        finally:
            server.close()


async def _run(server: ServerProcess, options: argparse.Namespace) -> int:
    phases: list[Phase] = []
    memory: dict[str, Mapping[str, float]] = {}
    traffic = Traffic(server.target)
    async with Attacker(server.target) as attacker, traffic.running():
        await attacker.volley(
            [_small(-number) for number in range(1, options.flood + 1)], FLOOD_AT_ONCE, also=_BUSY
        )
        await asyncio.sleep(WARM_SECONDS)
        before = observe(server.process.pid)

        async def phase(name: str, attack: Awaitable[object]) -> None:
            traffic.experience = seen = Experience()
            hits = await attack
            phases.append(Phase(name, seen, hits if isinstance(hits, list) else []))
            memory[name] = observe(server.process.pid).memory
            report = {**figures(phases[-1]), "memory": memory[name]}
            print(f"{name}: {report}", file=sys.stderr, flush=True)

        await phase("no attack", asyncio.sleep(options.quiet_seconds))
        for name, attack in _attacks(options):
            await phase(name, attack(attacker))
        await asyncio.sleep(REST_SECONDS)
        await phase("no attack again", asyncio.sleep(options.quiet_seconds))
        alive = server.process.poll() is None
        after = observe(server.process.pid) if alive else before
    broken = broken_promises(phases, before, after, alive=alive)
    missed = missed_aims(phases)
    if options.out:
        result = {
            "model": options.model,
            "phases": {phase.name: figures(phase) for phase in phases},
            "memory_before": dict(before.memory),
            "memory_after": dict(after.memory),
            "memory": {name: dict(each) for name, each in memory.items()},
            "broken_promises": broken,
            "missed_aims": missed,
            "hits": {phase.name: [hit.as_json() for hit in phase.hits] for phase in phases},
        }
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(phases, before, after))
    for title, lines in (("Broken promises", broken), ("Missed aims", missed)):
        print(f"\n{title}: {len(lines)}", *lines, sep="\n- ")
    return 1 if broken else 0


def _attacks(
    options: argparse.Namespace,
) -> Iterator[tuple[str, Callable[[Attacker], Awaitable[object]]]]:
    """The phases to run, in order: those whose name, or whose cases, `options.only` selects."""

    def volley(
        cases: Sequence[Case], at_once: int, also: frozenset[str] = _BUSY
    ) -> Callable[[Attacker], Awaitable[object]]:
        return lambda attacker: attacker.volley(cases, at_once, also=also)

    wanted = options.only.split(",")

    def selected(name: str) -> bool:
        return any(each in name for each in wanted)

    cases = [case for case in CASES if selected(case.name)]
    if cases:
        yield "one by one", volley(cases, 1, frozenset())
        yield "eight at once", volley([_varied(case, "again") for case in cases], 8)
    volleys = {
        "slow ones at once": ([_slow(number) for number in range(SLOW_AT_ONCE)], SLOW_AT_ONCE),
        "a large grammar again": ([_large()] * LARGE_TIMES, 8),
        "flood": ([_small(number) for number in range(options.flood)], FLOOD_AT_ONCE),
    }
    for name, (many, at_once) in volleys.items():
        if selected(name):
            yield name, volley(many, at_once)
    for flood in FLOODS:
        if selected(flood.name) or "floods" in wanted:
            yield flood.name, flood.run


def _varied(case: Case, label: str) -> Case:
    """The same attack with a different text, so that no cache helps."""
    text = case.text
    if text.startswith("{") and len(text) < _ROOM:
        text = f'{{"$comment":"{label}",{text[1:]}' if len(text) > len("{}") else text
    return type(case)(case.name, text, case.expected, case.attacks, case.max_tokens)


def _slow(number: int) -> Case:
    alternatives = [
        {"type": "object", "properties": {f"k{index}": True}, "required": ["k0"]}
        for index in range(1_900)
    ]
    schema = {"title": str(number), "oneOf": alternatives}
    return borne(f"slow schema {number}", "the workers", schema, "SCHEMA_TOO_COMPLEX")


def _large() -> Case:
    """A schema that passes every check, but that the engine compiles again each time."""
    properties = {f"p{index}": {"type": "boolean"} for index in range(440)}
    schema = {
        "type": "object",
        "properties": {
            f"o{index}": {"type": "object", "properties": properties} for index in range(5)
        },
    }
    return borne("a large grammar", "the engine", schema, "SCHEMA_TOO_COMPLEX", max_tokens=20)


def _small(number: int) -> Case:
    schema = {"title": f"{number} {'x' * 9_000}", "const": number}
    return borne(f"small schema {number}", "the cache", schema, max_tokens=20)


if __name__ == "__main__":
    sys.exit(main())
