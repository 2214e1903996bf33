"""What a pretraining has learned: linear probes, retrieval, curves, reconstructions."""
