"""Records streams of a real engine, token by token.

``python -m bench.performance.replay.recording`` starts genir on the embedded model and records
what it streams for the built-in schema. The replay is therefore a valid IR and passes verification.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from bench.performance.server import genir_server
from genir import AsyncIRClient, TextDelta

RECORDINGS = Path(__file__).with_name("recordings.json")
PROMPTS = Path(__file__).parents[2] / "generation" / "prompts.txt"


@dataclass(frozen=True, slots=True)
class Recording:
    """One completion: its text, and the end of each token in it, starting with 0."""

    text: str
    ends: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return len(self.ends) - 1

    def between(self, first: int, last: int) -> str:
        """Text of the tokens from `first` up to, but not including, `last`."""
        return self.text[self.ends[first] : self.ends[last]]


def load(path: Path = RECORDINGS) -> list[Recording]:
    """The recordings in a file."""
    return [recording(pieces) for pieces in json.loads(path.read_text())]


def recording(pieces: list[str]) -> Recording:
    """The recording of a completion whose tokens have these texts."""
    return Recording("".join(pieces), (0, *accumulate(map(len, pieces))))


async def _record(count: int) -> list[list[str]]:
    prompts = PROMPTS.read_text().splitlines()[:count]
    with genir_server() as server:
        async with AsyncIRClient(server.target, timeout=600) as client:
            await client.wait_ready(600)

            async def one(number: int, prompt: str) -> list[str]:
                pieces = []
                async with client.stream(prompt, seed=number, max_attempts=1) as events:
                    async for event in events:
                        if isinstance(event, TextDelta):
                            # Merged deltas count as several tokens, of which one has the text.
                            pieces += [event.text, *[""] * (event.token_count - 1)]
                return pieces

            return list(await asyncio.gather(*(one(*item) for item in enumerate(prompts))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16, help="completions to record")
    recorded = asyncio.run(_record(parser.parse_args().count))
    lines = ",\n".join(json.dumps(pieces) for pieces in recorded)
    RECORDINGS.write_text(f"[{lines}]\n")
