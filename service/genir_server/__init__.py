"""The genir server: transport, core, engine, and what stands beside them."""
