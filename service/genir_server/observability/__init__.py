"""What a server shows of itself: call records, log lines, metrics and traces."""
