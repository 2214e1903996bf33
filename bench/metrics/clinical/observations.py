"""The 14 observations of CheXpert and CheXbert, their order, and the four classes of a label.

The order is CheXbert's (its heads and its CSV files); other tables of the field have other
column orders and are aligned by name.
"""

from __future__ import annotations

OBSERVATIONS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
NO_FINDING = OBSERVATIONS.index("No Finding")
SUPPORT_DEVICES = OBSERVATIONS.index("Support Devices")

# The five that CheXpert's competition scored; Miura et al. and most later papers follow.
FIVE = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
FIVE_INDEX = tuple(OBSERVATIONS.index(name) for name in FIVE)

# CheXbert's class numbers. "No Finding" knows only BLANK and POSITIVE.
BLANK, POSITIVE, NEGATIVE, UNCERTAIN = range(4)
