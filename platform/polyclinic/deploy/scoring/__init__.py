"""Scores of studies, computed with a bundle."""

from polyclinic.deploy.scoring.reading import score
from polyclinic.deploy.scoring.scorer import Study, StudyScorer
from polyclinic.deploy.scoring.scores import FindingScore, ModalityUse, StudyScores

__all__ = ["FindingScore", "ModalityUse", "Study", "StudyScorer", "StudyScores", "score"]
