"""What depends on the grammar engine: compiling, trial runs, minimal instances, token counts."""
