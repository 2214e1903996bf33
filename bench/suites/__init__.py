"""From a suite's YAML to a plan of runs, and working it off."""
