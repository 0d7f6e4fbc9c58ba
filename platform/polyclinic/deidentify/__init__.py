"""De-identification: what may leave the hospital of a cohort, and what stays there."""
