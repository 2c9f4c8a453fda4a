"""
Anomalies in a table
====================

A detector of anomalies learns what is normal from rows that may or may not contain
anomalies. Here, it learns from measurements of benign tumors, and new tumors are
labeled: benign ones, and malignant ones, of which it has seen none.
"""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skae import AutoencoderOutlierDetector, AutoencoderTransformer, OutlierDisplay

X, y = load_breast_cancer(as_frame=True, return_X_y=True)
X_train, X_benign = train_test_split(X[y == 1], test_size=0.5, random_state=0)
X_test = pd.concat([X_benign, X[y == 0]])
# 1 for benign and -1 for malignant tumors, as scikit-learn labels outliers.
y_test = 2 * y[X_test.index] - 1

# %%
# Scores and a threshold
# ----------------------
#
# The columns have different units, which have no influence: the detector standardizes
# them. Most malignant tumors have a score below the threshold. Some benign ones have as
# well: rows that were not seen are less similar to the training rows than these are to
# each other.

detector = AutoencoderOutlierDetector(random_state=0).fit(X_train)
display = OutlierDisplay.from_estimator(detector, X_test, y_test)
plt.show()

# %%
# A higher threshold has more false alarms and misses fewer anomalies. ``contamination``
# is the share of training rows below it.

for contamination in ("auto", 0.01, 0.1):
    detector.set_params(contamination=contamination).fit(X_train)
    labels = pd.Series(detector.predict(X_test), X_test.index)
    alarms = (labels == -1).groupby(y_test).mean()
    print(f"{contamination}: {alarms[-1]:.0%} of malignant, {alarms[1]:.0%} of benign")

# %%
# The columns of a row
# --------------------
#
# What each column contributes to the score of the most unusual row. The columns have
# the same unit, so they can be compared.

most_unusual = display.scores.argmin()
display.plot_features(most_unusual, n_features=10)
plt.show()

# %%
# The row has extreme values in these columns. They are shown beside the mean and the
# largest value of the training rows:

columns = detector.feature_scores(X_test).iloc[most_unusual].nlargest(4).index
pd.DataFrame(
    {
        "row": X_test[columns].iloc[most_unusual],
        "mean": X_train[columns].mean(),
        "largest": X_train[columns].max(),
    }
).round(3)

# %%
# Other detectors
# ---------------
#
# The area under the ROC curve is the probability that a malignant tumor has a lower
# score than a benign one. On this table, isolation forests and the detector are about
# equal. Its score is better than the reconstruction error of a single model, which is
# PCA without training, ``max_iter=0``.

mean, deviation = X_train.mean(), X_train.std()
models = {
    "AutoencoderOutlierDetector": detector,
    "IsolationForest": IsolationForest(random_state=0),
}
for name, model in models.items():
    scores = model.fit(X_train).score_samples(X_test)
    print(f"{name:<40} {roc_auc_score(y_test, scores):.3f}")
for name, max_iter in {"autoencoder": "auto", "PCA": 0}.items():
    model = AutoencoderTransformer(7, max_iter=max_iter, random_state=0)
    model.fit((X_train - mean) / deviation)
    errors = model.reconstruction_error((X_test - mean) / deviation)
    name = f"reconstruction error, {name}"
    print(f"{name:<40} {roc_auc_score(y_test, -errors):.3f}")
