"""Types, errors, limits and queues that every other package shares; imports none of them."""
