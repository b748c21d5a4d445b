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
   9  the output cannot be written: a full disk or a closed pipe
 130  interrupted with Ctrl-C
====  ========================================================================

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations


def main() -> None:
    """Runs the command line on the arguments of the process and exits."""
    from genir.cli.app import app
    from genir.cli.output import guard_output

    guard_output()
    app(prog_name="genir")
