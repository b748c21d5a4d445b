"""What the server does beyond its capacity and when something breaks."""
