"""Where a score comes from, and whether that means anything."""
