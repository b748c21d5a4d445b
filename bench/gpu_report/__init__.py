"""One Markdown report on how genir runs with a model on a machine."""
