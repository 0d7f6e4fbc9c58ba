"""Scores of studies from a bundle."""

from polyclinic.deploy.scoring.scorer import Study, StudyScorer
from polyclinic.deploy.scoring.scores import FindingScore, ModalityUse, StudyScores

__all__ = ["FindingScore", "ModalityUse", "Study", "StudyScorer", "StudyScores"]
