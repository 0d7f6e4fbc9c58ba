"""Networks and augmentations of MONAI that several plugins share; not a plugin."""
