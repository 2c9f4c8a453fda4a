"""
Reducing a table before a classifier
====================================

A classifier can be trained on a few components in place of all columns. Does it matter
whether these are from PCA or from the autoencoder? This example cross-validates both on
two tables: the chemical analysis of wines (178 rows, 13 columns, three cultivars) and
measurements of breast tumors (569 rows, 30 columns, benign or malignant).
"""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer, CodeDisplay

tables = {"wine": load_wine(as_frame=True), "breast cancer": load_breast_cancer()}

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


sizes = [1, 2, 3, 4, 8]
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
# With one component, the autoencoder is better, for wine by far. With two or more, the
# two are about equal: the classes of these tables are almost linearly separable.
# Components are useful here for a small model or a plot, and do not improve the
# accuracy over all columns.

STYLES = {
    "PCA": {"color": "#0072b2", "marker": "s"},
    "autoencoder": {"color": "#d55e00", "marker": "o"},
    "all columns": {"color": "0.4", "linestyle": "--"},
}

figure, axes = plt.subplots(
    1, 2, figsize=(7.2, 3.8), layout="constrained", sharex=True, sharey=True
)
for ax, (name, result) in zip(axes, results.items(), strict=True):
    for column, style in STYLES.items():
        ax.plot(sizes, 100 * result[column], label=column, **style)
    ax.set(title=name, xlabel="number of components", xticks=sizes)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("cross-validated accuracy (%)")
axes[1].legend(loc="lower right")
plt.show()

# %%
# One component of the wines
# --------------------------
#
# The three cultivars along the only component of each model. PCA's line crosses the
# second cultivar twice ... The labels are only used for the colors.

wine = tables["wine"]
