"""A cohort without identities: its table, its sources and its cohort file."""
