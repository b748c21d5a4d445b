"""The command line ``genir``, with the subcommands serve, generate, check-schema and others.

All subcommands have the same exit codes:

====  ========================================================================
code  meaning
====  ========================================================================
   0  success
   1  an internal error of the server or of genir
   2  wrong usage, or the server refused the request as invalid or not found
   3  the server cannot be reached or is not ready
   4  no valid IR: truncated, or not valid against the schema
   5  the deadline passed
   6  the server is full; retry later
   7  what ``genir serve`` needs is not installed
   8  the server does not know the caller, or does not permit the call
 130  interrupted with Ctrl-C
====  ========================================================================

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations


def main() -> None:
    """Runs the command line on the arguments of the process and exits."""
    import sys
    from io import TextIOWrapper

    from genir.cli.app import app

    if isinstance(sys.stdout, TextIOWrapper):
        # Text from a server may hold characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="genir")
