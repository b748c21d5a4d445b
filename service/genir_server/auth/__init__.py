"""Who may call: certificates, tokens, the callers file, and live reloading of all three."""
