"""
A grid search over PCA and the autoencoder
==========================================

Which transformer should precede a classifier, and how many components should it have?
Both are parameters of a pipeline, so one grid search can select them. The data are
images of handwritten digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skae import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# A pipeline step as a parameter
# ------------------------------
#
# ``reduce`` is the name of a step of the pipeline, and the grid contains two
# transformers for it. Both have a parameter ``n_components``. With
# ``error_score="raise"``, a fit that fails raises its error; by default, it only gives
# a warning and a missing score.

pipeline = Pipeline(
    [
        ("reduce", PCA()),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression(max_iter=1000)),
    ]
)
sizes = [2, 4, 8]
grid = {
    "reduce": [PCA(), AutoencoderTransformer(random_state=0)],
    "reduce__n_components": sizes,
}
search = GridSearchCV(pipeline, grid, cv=3, error_score="raise")
search.fit(X_train, y_train)
print(search.best_estimator_["reduce"])

# %%
# Accuracy in cross-validation
# ----------------------------
#
# The lines are the mean accuracy over the three folds, and the areas are between the
# worst and the best fold.

BLUE, ORANGE = "#0072b2", "#d55e00"

results = search.cv_results_
folds = np.array([results[f"split{i}_test_score"] for i in range(3)])
folds = 100 * folds.reshape(3, 2, len(sizes))  # (fold, transformer, size)

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for j, (name, color) in enumerate([("PCA", BLUE), ("autoencoder", ORANGE)]):
    mean = folds[:, j].mean(axis=0)
    worst, best = folds[:, j].min(axis=0), folds[:, j].max(axis=0)
    ax.fill_between(sizes, worst, best, color=color, alpha=0.2, lw=0)
    ax.plot(sizes, mean, "s-" if name == "PCA" else "o-", color=color, label=name)
ax.set(xlabel="number of components", ylabel="accuracy (%)", xticks=sizes)
ax.set_title("Cross-validated accuracy of the pipelines")
ax.legend(loc="lower right")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Errors on test images
# ---------------------
#
# The percentage of the test images of each digit that is misclassified, for eight
# components. For the autoencoder, this is the pipeline that the search has refitted;
# the pipeline with PCA is fitted here.

fitted = {
    "PCA": pipeline.set_params(reduce=PCA(max(sizes))).fit(X_train, y_train),
    "autoencoder": search.best_estimator_,
}
figure_2, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
errors = {
    name: [np.mean(model.predict(X_test[y_test == c]) != c) * 100 for c in range(10)]
    for name, model in fitted.items()
}
for shift, (name, color) in zip(
    (-0.2, 0.2), [("PCA", BLUE), ("autoencoder", ORANGE)], strict=True
):
    ax.bar(np.arange(10) + shift, errors[name], width=0.4, color=color, label=name)
ax.set_xticks(range(10))
ax.set(xlabel="digit", ylabel="misclassified (%)")
ax.set_title(f"Misclassified test images, {max(sizes)} components")
ax.legend(frameon=False)
ax.grid(axis="y", alpha=0.3)
ax.set_axisbelow(True)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The accuracy on the test images:

for name, model in fitted.items():
    print(f"{name:<12} {model.score(X_test, y_test):.3f}")
