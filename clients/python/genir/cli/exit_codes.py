"""Exit codes of the command line. They are stable, so scripts may rely on them."""

from __future__ import annotations

from enum import IntEnum

from genir import errors


class ExitCode(IntEnum):
    """Exit codes of every subcommand."""

    OK = 0
    FAULT = 1
    INVALID = 2
    UNAVAILABLE = 3
    GENERATION_FAILED = 4
    DEADLINE = 5
    OVERLOADED = 6
    NOT_INSTALLED = 7
    NOT_AUTHORIZED = 8
    OUTPUT = 9
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "success",
    ExitCode.FAULT: "an internal error of the server or of genir",
    ExitCode.INVALID: "wrong usage, or the server refused the request as invalid or not found",
    ExitCode.UNAVAILABLE: "the server cannot be reached or is not ready",
    ExitCode.GENERATION_FAILED: "no valid IR: truncated, or not valid against the schema",
    ExitCode.DEADLINE: "the deadline passed",
    ExitCode.OVERLOADED: "the server is full; retry later",
    ExitCode.NOT_INSTALLED: "what `genir serve` needs is not installed",
    ExitCode.NOT_AUTHORIZED: "the server does not know the caller, or does not permit the call",
    ExitCode.OUTPUT: "the output cannot be written: a full disk or a closed pipe",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}

_BY_ERROR: tuple[tuple[type[errors.GenirError], ExitCode], ...] = (
    (errors.InvalidRequestError, ExitCode.INVALID),
    (errors.NotFoundError, ExitCode.INVALID),
    (errors.UnavailableError, ExitCode.UNAVAILABLE),
    (errors.GenerationFailedError, ExitCode.GENERATION_FAILED),
    (errors.DeadlineExceededError, ExitCode.DEADLINE),
    (errors.OverloadedError, ExitCode.OVERLOADED),
    (errors.NotAuthorizedError, ExitCode.NOT_AUTHORIZED),
)


def exit_code_of(error: errors.GenirError) -> ExitCode:
    """The exit code for a failed call."""
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return code
    return ExitCode.FAULT


def exit_code_table() -> str:
    """The exit codes with their meanings, one on each line, for the end of the help text."""
    lines = [f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["Exit codes:", *lines])
