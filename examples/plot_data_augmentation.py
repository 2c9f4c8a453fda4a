"""
Data augmentation for small training sets
=========================================

Can generated images improve a classifier that is trained on a few labeled images of
each digit? For each digit, an autoencoder is fitted to its labeled images, and its
samples are added to the training set. The result depends on the classifier, so three
classifiers are compared.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from skae import AutoencoderTransformer

X, y = load_digits(return_X_y=True)
X_pool, X_test, y_pool, y_test = train_test_split(
    X, y, train_size=1000, stratify=y, random_state=0
)
DIGITS = range(10)
N_NEW = 50

# %%
# Generated images
# ----------------
#
# Fifty images are generated for each digit, in one of two ways: samples of an
# autoencoder, and means of two images of the same digit. The second requires no model
# and is the baseline for the first.


def samples(images, seed):
    """Return samples of an autoencoder that is fitted to the images."""
    n_components = min(8, len(images) // 3)
    model = AutoencoderTransformer(n_components, random_state=seed)
    return model.fit(images).sample(N_NEW, random_state=seed)


def means_of_two(images, seed):
    """Return means of random pairs of images."""
    rng = np.random.default_rng(seed)
    pairs = [rng.choice(len(images), 2, replace=False) for _ in range(N_NEW)]
    return np.array([images[pair].mean(axis=0) for pair in pairs])


def labeled(n, seed):
    """Return n random images of each digit."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(X_pool[y_pool == digit])[:n] for digit in DIGITS]


added = {
    "labeled images only": lambda images, seed: images[:0],
    "with means of two": means_of_two,
    "with samples": samples,
}
classifiers = {
    "nearest neighbors": lambda seed: KNeighborsClassifier(3),
    "support vectors": lambda seed: SVC(),
    "random forest": lambda seed: RandomForestClassifier(random_state=seed),
}

# %%
# Accuracy on test images
# -----------------------
#
# The accuracy is the mean over three random choices of the labeled images.

results = []
for n in (5, 10, 20):
    for seed in range(3):
        few = labeled(n, seed)
        for what, make in added.items():
            parts = [np.vstack([part, make(part, seed)]) for part in few]
            labels = np.repeat(DIGITS, [len(part) for part in parts])
            for name, classifier in classifiers.items():
                model = classifier(seed).fit(np.vstack(parts), labels)
                score = model.score(X_test, y_test)
                results.append((name, n, what, score))

table = pd.DataFrame(
    results, columns=["classifier", "per digit", "trained on", "score"]
)
means = table.pivot_table(
    "score", ["classifier", "per digit"], "trained on", sort=False
)
print(means.round(3).to_string())

# %%
# The samples improve nearest neighbors most, in particular with few labeled images, and
# the support vector classifier a little. However, the means of two images are about as
# useful or better, without a model. The accuracy of the random forest changes by about
# one point at most, and is lower with 10 and 20 labeled images. Therefore, compare the
# scores with and without augmentation for the classifier that you use.

STYLES = {
    "labeled images only": ("#777777", "^--"),
    "with means of two": ("#0072b2", "s-"),
    "with samples": ("#d55e00", "o-"),
}

figure, axes = plt.subplots(
    1, 3, figsize=(7.4, 4), layout="constrained", sharex=True, sharey=True
)
for ax, name in zip(axes, classifiers, strict=True):
    for what, (color, marker) in STYLES.items():
        scores = 100 * means.loc[name, what]
        ax.plot(scores.index, scores, marker, color=color, label=what)
    ax.set_xticks(scores.index)
    ax.set(title=name, xlabel="labeled per digit")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("accuracy on test images (%)")
handles, names = axes[0].get_legend_handles_labels()
figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
plt.show()

# %%
# The change with five labeled images of each digit, in percentage points:

few_labels = 100 * means.xs(5, level="per digit")
x = np.arange(len(few_labels))
# sphinx_gallery_thumbnail_number = 2
figure_2, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for shift, what in [(-0.2, "with means of two"), (0.2, "with samples")]:
    change = few_labels[what] - few_labels["labeled images only"]
    ax.bar(x + shift, change, width=0.4, color=STYLES[what][0], label=what)
ax.axhline(0, color="black", lw=0.8)
ax.set_xticks(x, few_labels.index)
ax.set(ylabel="change of the accuracy (points)", title="Effect of added images")
ax.legend()
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Examples of samples
# -------------------
#
# The left plot shows five labeled images of each digit, and the right plot eight
# samples of the autoencoder that was fitted to them. With so few images, this
# autoencoder is close to PCA with one component, and the samples are blends of the
# images.

few = labeled(5, seed=0)
figure_3, axes = plt.subplots(
    1, 2, figsize=(7.4, 5.4), layout="constrained", width_ratios=(5, 8)
)
columns = {"labeled": few, "samples": [samples(part, 0)[:8] for part in few]}
for ax, (title, parts) in zip(axes, columns.items(), strict=True):
    images = np.array(parts).reshape(10, -1, 8, 8)
    spaced = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 1, 3)
    ax.imshow(spaced.reshape(100, -1), cmap="gray_r", vmin=0, vmax=16)
    ax.set(xticks=[], yticks=[], title=title)
plt.show()
