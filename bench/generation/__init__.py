"""How often a prompt becomes a valid IR, and how long that takes, per structured-output backend."""
