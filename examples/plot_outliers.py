"""
Anomalies in a table
====================

A detector of anomalies is fitted to rows that are mostly normal, and scores new rows.
Here, it is fitted to measurements of benign tumors. The new rows are other benign
tumors and malignant ones, and the columns that are responsible for a score are plotted.
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
# The columns have different units; the detector standardizes them. Most malignant
# tumors (outliers) have a score below the threshold. So do some benign ones: new rows
# are less similar to the training rows than these are to each other.

detector = AutoencoderOutlierDetector(random_state=0).fit(X_train)
display = OutlierDisplay.from_estimator(detector, X_test, y_test)
plt.show()

# %%
# With a higher threshold, more anomalies are found, and there are more false alarms.
# ``contamination`` is the share of training rows below the threshold. The percentages
# are the tumors that are labeled as anomalies.

for contamination in ("auto", 0.01, 0.1):
    detector.set_params(contamination=contamination).fit(X_train)
    labels = pd.Series(detector.predict(X_test), X_test.index)
    alarms = (labels == -1).groupby(y_test).mean()
    print(f"{contamination}: {alarms[-1]:.0%} of malignant, {alarms[1]:.0%} of benign")

# %%
# The columns responsible for a row's score
# -----------------------------------------
#
# The ten columns that contribute most to the score of the row with the lowest score.
# All columns are standardized, so their contributions can be compared.

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
# The columns responsible for all anomalies
# -----------------------------------------
#
# The mean contributions over all malignant and all benign test rows, for the ten
# columns with the largest difference.

contributions = detector.feature_scores(X_test).groupby(y_test).mean()
difference = contributions.loc[-1] - contributions.loc[1]
columns = difference.nlargest(10).index[::-1]

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.hlines(
    columns, contributions.loc[1, columns], contributions.loc[-1, columns], "0.75"
)
for label, name, color, marker in [
    (1, "benign", "#0072b2", "s"),
    (-1, "malignant", "#d55e00", "o"),
]:
    values = contributions.loc[label, columns]
    ax.scatter(values, columns, color=color, marker=marker, label=name, zorder=2)
ax.set(xlabel="mean score of the column (higher is more abnormal)", xlim=(0, None))
ax.set_title("Columns responsible for the scores of malignant tumors")
ax.legend(loc="lower right")
ax.grid(axis="x", alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Other detectors
# ---------------
#
# The area under the ROC curve is the probability that a malignant tumor has a lower
# score than a benign one. On this table, isolation forests and the detector are about
# equal. Both are better than the reconstruction error of a single autoencoder, or of
# PCA (``max_iter=0``).

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
