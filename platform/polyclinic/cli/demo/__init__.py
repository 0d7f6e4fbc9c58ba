"""``polyclinic demo``: the commands of a first run, one after the other, on synthetic patients."""
