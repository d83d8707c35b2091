"""From seeds to a labeler: invert, leave out what does not invert, train the ensemble, check it on seeds held out, and
learn how uncertain random samples are."""

from models.fitting.fit import FitError, FitOutcome, Progress, fit
from models.fitting.seed_labels import LabelNames, StackedLabels
from models.fitting.settings import FitSettings

__all__ = ["FitError", "FitOutcome", "FitSettings", "LabelNames", "Progress", "StackedLabels", "fit"]
