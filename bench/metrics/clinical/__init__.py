"""Clinical-efficacy metrics: labelers, their observations, F1 and RadGraph."""
