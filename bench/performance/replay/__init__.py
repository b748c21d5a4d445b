"""genir's front end by itself: recorded token streams, played back at the speed of a GPU.

The engine here is a bench tool. It computes nothing: it hands out what a real run wrote. Figures
made with it say what the front end can carry, never how fast a model is.
"""
