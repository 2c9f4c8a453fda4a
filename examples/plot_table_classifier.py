"""
Reducing a table before a classifier
====================================

A classifier can be trained on a few components in place of all columns. Does it matter
whether these are from PCA or from the autoencoder? This example cross-validates both on
two tables: the chemical analysis of wines (178 rows, 13 columns, three cultivars) and
measurements of breast tumors (569 rows, 30 columns, benign or malignant).
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer

tables = {
    "wine": load_wine(as_frame=True),
    "breast cancer": load_breast_cancer(as_frame=True),
}

# %%
# Cross-validated accuracy
# ------------------------
#
# The transformer is a step of a pipeline, so it is fitted to the training rows of each
# fold only, without their labels. The codes are standardized before the classifier.


def accuracies(reducer, table):
    """Return the accuracy of logistic regression on the codes, for each fold."""
    pipeline = make_pipeline(
        StandardScaler(), reducer, StandardScaler(), LogisticRegression(max_iter=1000)
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(pipeline, table.data, table.target, cv=folds)


sizes = [1, 2, 4, 8]
results = {}
for name, table in tables.items():
    results[name] = pd.DataFrame(
        {
            "PCA": [accuracies(PCA(k), table).mean() for k in sizes],
            "autoencoder": [
                accuracies(AutoencoderTransformer(k, random_state=0), table).mean()
                for k in sizes
            ],
            "all columns": accuracies("passthrough", table).mean(),
        },
        index=pd.Index(sizes, name="components"),
    )
pd.concat(results, axis=1).mul(100).round(1)

# %%
# For wine, one component of the autoencoder is almost as good as two of PCA. Otherwise,
# the two are about equal. With all columns, the accuracy is as high as with components
# or higher: they are useful here for a plot or a small model, not for the accuracy.

STYLES = {
    "PCA": {"color": "#0072b2", "marker": "s"},
    "autoencoder": {"color": "#d55e00", "marker": "o"},
    "all columns": {"color": "0.4", "linestyle": "--"},
}

for name, result in results.items():
    figure, ax = plt.subplots(figsize=(3.6, 3.8), layout="constrained")
    for column, style in STYLES.items():
        ax.plot(sizes, 100 * result[column], label=column, **style)
    ax.set(xlabel="number of components", ylabel="accuracy (%)", xticks=sizes)
    ax.set(title=f"Accuracy, {name}", ylim=(82, 100))
    ax.legend(loc="lower right")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# One component of the wines
# --------------------------
#
# Each point is a wine, and both models are fitted to all wines. The component of PCA is
# a linear function of the 13 columns, and the second cultivar overlaps with the other
# two. The component of the autoencoder is a nonlinear function, and the overlap is
# smaller. The labels are only used for the lines and colors, not for the components.

wine = tables["wine"]
COLORS = ["#0072b2", "#e69f00", "#009e73"]
rng = np.random.default_rng(0)
figure_2, axes = plt.subplots(
    1, 2, figsize=(7.2, 3.2), layout="constrained", sharey=True
)
reducers = {"PCA": PCA(1), "autoencoder": AutoencoderTransformer(1, random_state=0)}
for ax, (name, reducer) in zip(axes, reducers.items(), strict=True):
    codes = make_pipeline(StandardScaler(), reducer).fit_transform(wine.data)
    height = wine.target + rng.uniform(-0.25, 0.25, len(codes))
    ax.scatter(
        codes[:, 0], height, color=np.array(COLORS)[wine.target], s=16, linewidths=0
    )
    ax.set(title=name, xlabel="component 1", yticks=range(3))
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_yticklabels(["cultivar 1", "cultivar 2", "cultivar 3"])
plt.show()
