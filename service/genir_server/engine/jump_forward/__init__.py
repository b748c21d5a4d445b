"""Jump-forward: tokens that the grammar forces are proposed as drafts; see docs/jump-forward.md."""
