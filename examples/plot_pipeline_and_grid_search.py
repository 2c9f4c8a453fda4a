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
# Accuracy in cross-validation and on test images
# -----------------------------------------------
#
# The plot on the left shows the mean accuracy over the three folds, and the range
# between the worst and the best fold. The plot on the right shows the misclassified
# fraction of the test images of each digit, for eight components. For the autoencoder,
# this is the pipeline that the search has refitted; the pipeline with PCA is fitted
# here.

BLUE, ORANGE = "#0072b2", "#d55e00"

results = search.cv_results_
folds = np.array([results[f"split{i}_test_score"] for i in range(3)])
folds = 100 * folds.reshape(3, 2, len(sizes))  # (fold, transformer, size)

figure, (left, right) = plt.subplots(
    1, 2, figsize=(7.4, 4), layout="constrained", width_ratios=(3, 2)
)
for j, (name, color) in enumerate([("PCA", BLUE), ("autoencoder", ORANGE)]):
    mean = folds[:, j].mean(axis=0)
    worst, best = folds[:, j].min(axis=0), folds[:, j].max(axis=0)
    left.fill_between(sizes, worst, best, color=color, alpha=0.2, lw=0)
    left.plot(sizes, mean, "o-", color=color, label=name)
left.set_xscale("log", base=2)
left.set_xticks(sizes, sizes)
left.set(xlabel="number of components", ylabel="accuracy (%)", ylim=(40, 100))
left.set_title("Cross-validated accuracy")
left.legend(frameon=False, loc="lower right")
left.grid(alpha=0.3)
left.spines[["top", "right"]].set_visible(False)

fitted = {
    "PCA": pipeline.set_params(reduce=PCA(max(sizes))).fit(X_train, y_train),
    "autoencoder": search.best_estimator_,
}
errors = {
    name: [np.mean(model.predict(X_test[y_test == c]) != c) * 100 for c in range(10)]
    for name, model in fitted.items()
}
for shift, (name, color) in zip(
    (-0.2, 0.2), [("PCA", BLUE), ("autoencoder", ORANGE)], strict=True
):
    right.bar(np.arange(10) + shift, errors[name], width=0.4, color=color, label=name)
right.set_xticks(range(10))
right.set(xlabel="digit", ylabel="misclassified (%)")
right.set_title(f"Test errors, {max(sizes)} components")
right.legend(frameon=False)
right.grid(axis="y", alpha=0.3)
right.set_axisbelow(True)
right.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The accuracy on the test images:

for name, model in fitted.items():
    print(f"{name:<12} {model.score(X_test, y_test):.3f}")
