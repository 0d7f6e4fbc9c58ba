"""Which files belong together: retrieval and linkage."""
