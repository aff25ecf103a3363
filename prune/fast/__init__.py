"""SynFlow, computed faster; the masks are the same."""
