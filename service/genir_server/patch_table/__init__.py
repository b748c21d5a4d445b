"""The list of everything that genir replaces, subclasses or reads in other projects' internals.

`table` names each such place; `fits` decides whether the installed version is the one it was
written for. The code itself lives elsewhere: the patches for vLLM in `genir_server.engine`, one
file each under `engine/patches/`, and the one for grpcio in `transport/concurrent_accept.py`.
This package imports nothing of genir and, until something is checked, nothing of vLLM.
"""
