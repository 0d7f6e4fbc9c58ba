"""Small roots of public data sets, written exactly as they lie on disk."""
