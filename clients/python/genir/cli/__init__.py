"""The command line: ``genir``.

Its subcommands are serve, generate, check-schema, health, warmup, token, schema and
version.

Exit codes, the same for every subcommand:

====  ========================================================================
code  meaning
====  ========================================================================
   0  success
   1  a fault of the server, or something unforeseen
   2  wrong usage, or the server refused the request as invalid or not found
   3  the server cannot be reached or is not ready
   4  no valid IR: truncated, or not valid against the schema
   5  the timeout passed
   6  the server is full; try again later
   7  what ``genir serve`` needs is not installed
   8  the server does not know or does not let the caller
 130  interrupted with Ctrl-C
====  ========================================================================

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations


def main() -> None:
    """Runs the command line on the arguments of the process and exits."""
    from genir.cli.app import app

    app(prog_name="genir")
