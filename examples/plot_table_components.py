"""
Number of components of a medical table
=======================================

The breast cancer data contain 30 measurements of the cell nuclei of 569 tumors. Many of
them are correlated, so fewer numbers are sufficient. How many are needed, and which
columns can be reconstructed from them? This example compares PCA and the autoencoder by
cross-validation.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split, validation_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer

X = load_breast_cancer(as_frame=True).data
X.iloc[:3, :5]

# %%
# Variance explained by number of components
# ------------------------------------------
#
# The columns have different units, so they are standardized. ``score`` is the share of
# the variance that the components explain. With ``max_iter=0``, the model is PCA.
# :func:`sklearn.model_selection.validation_curve` computes the score for each number of
# components on five folds.

sizes = [1, 2, 4, 8, 12]
models = {
    "PCA": AutoencoderTransformer(max_iter=0),
    "autoencoder": AutoencoderTransformer(random_state=0),
}
scores = {}
for name, model in models.items():
    _, scores[name] = validation_curve(
        make_pipeline(StandardScaler(), model),
        X,
        None,
        param_name="autoencodertransformer__n_components",
        param_range=sizes,
        cv=5,
    )

# %%
# The lines are the means over the folds, and the areas are between the worst and the
# best fold.

COLORS = {"PCA": "#0072b2", "autoencoder": "#d55e00"}

figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
for name, color in COLORS.items():
    percent = 100 * scores[name]
    ax.fill_between(
        sizes, percent.min(axis=1), percent.max(axis=1), color=color, alpha=0.2, lw=0
    )
    marker = "s" if name == "PCA" else "o"
    ax.plot(sizes, percent.mean(axis=1), marker=marker, color=color, label=name)
ax.set(xlabel="number of components", ylabel="variance explained (%)", xticks=sizes)
ax.set_title("Breast cancer: variance of held-out rows explained")
ax.legend(loc="lower right")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The means in percent:

pd.DataFrame({n: 100 * s.mean(axis=1) for n, s in scores.items()}, index=sizes).round(1)

# %%
# The columns that are reconstructed
# ----------------------------------
#
# The score is a mean over all columns. The coefficient of determination of each column
# shows which of them can be reconstructed from three components: 1 is an exact
# reconstruction, and 0 is as good as the mean of the column. The radius, perimeter and
# area are reconstructed well by both. The largest differences are for the texture, of
# which PCA's three components contain little.

X_train, X_test = train_test_split(X, random_state=0)
fitted = {
    "PCA": make_pipeline(StandardScaler(), PCA(3)),
    "autoencoder": make_pipeline(
        StandardScaler(), AutoencoderTransformer(3, random_state=0)
    ),
}
r2 = {}
for name, pipeline in fitted.items():
    codes = pipeline.fit(X_train).transform(X_test)
    r2[name] = r2_score(
        X_test, pipeline.inverse_transform(codes), multioutput="raw_values"
    )
table = pd.DataFrame(r2, index=X.columns).sort_values("autoencoder")

figure_2, ax = plt.subplots(figsize=(7, 7), layout="constrained")
lines = np.arange(len(table))
ax.hlines(lines, table.min(axis=1), table.max(axis=1), color="0.75", zorder=0)
ax.scatter(table["PCA"], lines, marker="s", color=COLORS["PCA"], label="PCA")
ax.scatter(
    table["autoencoder"], lines, color=COLORS["autoencoder"], label="autoencoder"
)
ax.set_yticks(lines, table.index)
ax.set(xlabel="coefficient of determination on test rows", ylim=(-1, len(table)))
ax.set_title("Columns reconstructed from 3 components")
ax.legend(loc="lower right")
ax.grid(axis="x", alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# A given share of the variance
# --------------------------------
#
# ``n_components`` can be the share of the variance to explain, as for PCA. PCA selects
# the number on the training rows, the autoencoder on validation rows.

for share in (0.8, 0.9, 0.95):
    pca = make_pipeline(StandardScaler(), PCA(share)).fit(X_train)
    autoencoder = make_pipeline(
        StandardScaler(), AutoencoderTransformer(share, random_state=0)
    ).fit(X_train)
    print(
        f"{share:.0%}: PCA {pca[-1].n_components_} components, "
        f"autoencoder {autoencoder[-1].n_components_} components, "
        f"which explain {autoencoder.score(X_test):.1%} on test rows"
    )
