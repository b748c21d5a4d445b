"""Worker processes that handle callers' schemas, bounded in time and memory."""
