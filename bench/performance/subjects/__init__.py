"""What is measured side by side: each subject is one way to get an IR out of the same engine."""
