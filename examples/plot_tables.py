"""
A table of mixed columns
========================

The transformer accepts a data frame of numbers, categories and missing values as it is.
This example draws a map of penguins, returns from the map to the table, and fills in
values that were hidden.

The file ``penguins.csv``, in the folder ``examples`` of the repository, contains 344
penguins of three species, observed on three islands of Antarctica (`palmerpenguins
<https://allisonhorst.github.io/palmerpenguins>`_ by A. Horst, A. Hill and K. Gorman,
license CC0). Two of them were not measured, and the sex of eleven is missing.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from skae import AutoencoderImputer, AutoencoderTransformer

types = {"flipper_length_mm": "Int64", "body_mass_g": "Int64"}
types |= dict.fromkeys(["species", "island", "sex"], "category")
penguins = pd.read_csv("penguins.csv", dtype=types)
penguins.sample(5, random_state=0)

# %%
# A map
# -----
#
# The model does not see the species. Each column counts the same in the loss, whatever
# its unit. Training starts at factor analysis of mixed data (FAMD), the counterpart of
# PCA for such tables. With ``max_iter=0``, the model is FAMD. The score is the share of
# deviance that is explained.

train, test = train_test_split(penguins, random_state=0)
columns = penguins.columns.drop("species")
famd = AutoencoderTransformer(2, max_iter=0).fit(train[columns])
model = AutoencoderTransformer(2, random_state=0).fit(train[columns])

colors = {"Adelie": "#0072b2", "Chinstrap": "#e69f00", "Gentoo": "#009e73"}


def draw_map(name, fitted):
    """Plot the codes of all penguins."""
    figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
    codes = fitted.transform(penguins[columns])
    for species, color in colors.items():
        for sex, marker in {"female": "o", "male": "^"}.items():
            rows = (penguins["species"] == species) & (penguins["sex"] == sex)
            label = f"{species}, {sex}"
            ax.scatter(*codes[rows].T, s=22, c=color, marker=marker, label=label)
    ax.set_title(f"{name}, test score {fitted.score(test[columns]):.2f}")
    ax.set(xlabel="component 1", ylabel="component 2")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)


draw_map("FAMD", famd)
plt.show()

# %%
# In the map of the autoencoder, the groups are more separate.

# sphinx_gallery_thumbnail_number = 2
draw_map("autoencoder", model)
plt.show()

# %%
# Back to the table
# -----------------
#
# ``inverse_transform`` returns a frame with the columns and types of the table, and
# integers are rounded. Five of the test rows:

rows = test[columns].dropna()
rows.head()

# %%
# The same rows after encoding to two numbers each:

back = model.inverse_transform(model.transform(rows)).set_axis(rows.index)
assert back.dtypes.equals(rows.dtypes)
back.head()

# %%
# ``sample`` draws rows that resemble the penguins.

model.sample(3, random_state=0)

# %%
# Missing values
# --------------
#
# A tenth of the values is hidden, at random. The imputer predicts each of them from the
# other values of the same penguin. All values that are present are unchanged.

hidden = np.random.default_rng(0).random(penguins.shape) < 0.1
hidden = penguins.notna() & hidden
gaps = penguins.mask(hidden)
filled = AutoencoderImputer(AutoencoderTransformer(2), random_state=0).fit_transform(
    gaps
)

numbers = penguins.columns[penguins.dtypes != "category"]
figure, axes = plt.subplots(2, 2, figsize=(7, 6.4), layout="constrained")
for ax, name in zip(axes.flat, numbers, strict=True):
    rows = hidden.index[hidden[name]]
    truth, prediction = penguins.loc[rows, name], filled.loc[rows, name]
    ends = penguins[name].min(), penguins[name].max()
    ax.axline(*np.transpose([ends, ends]), color="0.7", zorder=0)
    ax.axhline(gaps[name].mean(), color="0.7", linestyle="--", zorder=0)
    ax.scatter(truth, prediction, s=16, c="#d55e00")
    ax.set(title=name, xlabel="hidden value", ylabel="filled value")
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The dashed line is the mean, the prediction of :class:`sklearn.impute.SimpleImputer`.
# For categories, the most frequent level is compared:

for name in penguins.columns.drop(numbers):
    rows = hidden.index[hidden[name]]
    truth = penguins.loc[rows, name]
    correct = (filled.loc[rows, name] == truth).mean()
    frequent = (truth == gaps[name].mode()[0]).mean()
    print(f"{name:<8} {correct:.0%} correct, {frequent:.0%} by the most frequent level")
