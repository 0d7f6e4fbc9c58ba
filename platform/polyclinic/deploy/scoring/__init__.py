"""Scores of studies, computed with a bundle."""

from polyclinic.deploy.scores import EstimateScore, FindingScore, ModalityUse, StudyScores
from polyclinic.deploy.scoring.reading import score
from polyclinic.deploy.scoring.scorer import Study, StudyScorer

__all__ = ["EstimateScore", "FindingScore", "ModalityUse", "Study", "StudyScorer", "StudyScores", "score"]
