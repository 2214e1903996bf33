"""The names that public projects give to ids, predictions, references and sections."""

from __future__ import annotations

KEY, TEXT = "(key)", "(text)"  # what a map's key, and a bare text, are called as fields

IDS = ("study_id", "id", "dicom_id", "uid", "key", "image_id", "study", "sample_id", "ids")
PREDICTIONS = (
    "prediction", "predictions", "predicted", "pred", "preds", "generated", "generated_report",
    "generated_reports", "predicted_report", "predicted_reports", "generated_text", "hyp", "hyps",
    "hypothesis", "hypotheses", "candidate", "candidates", "model_prediction", "res", "test_res",
    "gen_report", "gen_reports",
)  # fmt: skip
REFERENCES = (
    "reference", "references", "ref", "refs", "gt", "gts", "test_gts", "ground_truth",
    "ground_truths", "groundtruth", "reference_report", "reference_reports", "ground_truth_report",
    "ground_truth_reports", "gt_report", "gt_reports", "gt_text", "reference_text",
)  # fmt: skip
EITHER = ("report", "reports", "text", "caption", TEXT)  # as the file is one or the other
FINDINGS, IMPRESSION = ("section_findings", "findings"), ("section_impression", "impression")
SPLIT = "split"

TEXTS = (*PREDICTIONS, *REFERENCES, *EITHER)
KNOWN = (*IDS, *TEXTS, *FINDINGS, *IMPRESSION)


def plain(name: str) -> str:
    """A field's name as the lists here have it: "Generated Report" is "generated_report"."""
    return name.strip().strip("\"'").lower().replace(" ", "_").replace("-", "_")


def is_known(name: str) -> bool:
    return plain(name) in KNOWN


def is_text(name: str) -> bool:
    """Whether a name is one of reports, whoever wrote them."""
    return plain(name) in TEXTS


def is_id(name: str) -> bool:
    """Whether a name is one of ids."""
    return plain(name) in IDS
