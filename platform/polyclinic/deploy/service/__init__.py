"""``polyclinic serve``: a bundle over HTTP. Code that imports torch or a plugin runs in worker processes."""
