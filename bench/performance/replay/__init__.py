"""Measures genir's front end alone: recorded token streams, played back at the speed of a GPU.

The engine here is a bench tool. It computes nothing and plays back the output of a real run. Its
figures show the capacity of the front end, not the speed of a model.
"""
