"""Compares the speed of genir with other servers on the same engine.

``python -m bench.performance --out result.json`` compares front ends on a real engine;
``python -m bench.performance.replay`` isolates genir's own front end with recorded streams.
"""
