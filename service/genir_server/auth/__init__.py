"""Access control: TLS certificates, bearer tokens and the callers file, all reloaded live."""
