"""Scores of a model that gives every row a number."""

import evaluate
import numpy as np
from datasets import Features, Value


class RegressionMetrics(evaluate.Metric):
    """`pearson`, `spearmanr`, `mae`, `mse` and `r2`, equal to scipy's and scikit-learn's.

    `compute(predictions=, references=)` takes numbers [n] for both, in the unit of the labels. The correlations are
    left out when the predictions or the references are all the same, `r2` when the references are.
    """

    def __init__(self):
        # In memory: the default writes an Arrow file into a cache folder that all processes share.
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        columns = {"predictions": Value("float64"), "references": Value("float64")}
        return evaluate.MetricInfo(description=type(self).__doc__, citation="", features=Features(columns))

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        from scipy.stats import pearsonr, spearmanr
        from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

        predictions, references = np.array(predictions), np.array(references)
        scores = {}
        if np.ptp(predictions) > 0 and np.ptp(references) > 0:
            scores["pearson"] = pearsonr(predictions, references).statistic
            scores["spearmanr"] = spearmanr(predictions, references).statistic
        scores["mae"] = mean_absolute_error(references, predictions)
        scores["mse"] = mean_squared_error(references, predictions)
        if np.ptp(references) > 0:
            scores["r2"] = r2_score(references, predictions)
        return {name: float(value) for name, value in scores.items()}
