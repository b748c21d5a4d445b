"""Jump-forward: proposes tokens that the grammar forces, and prompt-lookup drafts."""
