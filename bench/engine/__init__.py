"""Training and decoding: the only loop, its meter, optimiser and checkpoints."""
