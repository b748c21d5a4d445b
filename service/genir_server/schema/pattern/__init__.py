"""Regular expressions of ECMA-262: read, measured, and written for the libraries that match them.

The dialect is the grammar with the flag `u`, and what docs/schemas.md names besides.
"""
