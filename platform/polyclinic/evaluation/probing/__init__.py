"""What pretraining learned: probes, neighbours, reconstructions."""
