"""``polyclinic evaluate``."""
