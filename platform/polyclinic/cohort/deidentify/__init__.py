"""De-identify a cohort: its table, its sources and its cohort file."""
