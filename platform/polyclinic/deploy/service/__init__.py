"""``polyclinic serve``: a bundle behind HTTP. What imports torch or a plugin runs in processes that can be killed."""
