"""Everything that needs the grammar engine: compile, trial, minimal instance, minimum of tokens."""
