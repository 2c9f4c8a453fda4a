"""
Displays of a fitted model
==========================

The displays of skae follow those of scikit-learn, such as
:class:`sklearn.metrics.PredictionErrorDisplay`. ``from_estimator`` computes and draws,
and returns an object. Its ``plot`` draws again without computing, and its attributes
contain the data, the axes and all artists. Displays require matplotlib, which the extra
``plot`` installs.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skae import (
    AutoencoderTransformer,
    CodeDisplay,
    ExplainedVarianceDisplay,
    LossCurveDisplay,
    Ordered,
    OutlierDisplay,
    ReconstructionDisplay,
    TraversalDisplay,
)

digits, label = load_digits(return_X_y=True)
X_train, X_test, _, y_test = train_test_split(digits, label, random_state=0)
model = AutoencoderTransformer(4, random_state=0).fit(X_train)

# %%
# Training
# --------
#
# The validation loss starts near the loss of PCA and falls to less than half of it. The
# model of the epoch where it is lowest is trained further on all rows. After 20 epochs,
# the training loss falls faster than the validation loss: the model begins to overfit.

LossCurveDisplay.from_estimator(model)
plt.show()

# %%
# Reconstructions
# ---------------
#
# The upper line shows test images, the lower one their reconstructions, and the titles
# the errors. The second and the seventh image are unusual, and have the largest errors.

ReconstructionDisplay.from_estimator(model, X_test, n_rows=8, image_shape=(8, 8))
plt.show()

# %%
# Rows of a table are lines. The columns of the wine data have different units, so a
# pipeline standardizes them, and so does the display.

wine = load_wine(as_frame=True)
pipeline = make_pipeline(
    StandardScaler(), AutoencoderTransformer(3, random_state=0)
).fit(wine.data)
ReconstructionDisplay.from_estimator(pipeline, wine.data, n_rows=4, standardize=True)
plt.show()

# %%
# Codes
# -----
#
# The codes of the test images, in maps of all pairs of the first three components. Most
# digits form groups, although the model was fitted without their labels.

CodeDisplay.from_estimator(model, X_test, y_test, components=(0, 1, 2))
plt.show()

# %%
# Codes can also be colored by the error of their rows. Here, the errors of the groups
# at the edge are small, and those in the middle, where digits overlap, are larger.

CodeDisplay.from_estimator(model, X_test, color="error")
plt.show()

# %%
# The meaning of a component
# --------------------------
#
# Each line shows the images that are decoded along one component, from its 5 % quantile
# to its 95 % quantile, with all other components at their mean.

TraversalDisplay.from_estimator(model, X_test, image_shape=(8, 8))
plt.show()

# %%
# For a table, a heatmap shows which columns change with a component.

TraversalDisplay.from_estimator(pipeline, wine.data)
plt.show()

# %%
# The number of components
# ------------------------
#
# With the regularizer :class:`~skae.Ordered`, the first components can be used without
# the others, so they have a curve. PCA is fitted to the test images themselves, and
# needs 20 components for the share of variance that the 12 of the autoencoder explain.

ordered = AutoencoderTransformer(12, regularizer=Ordered(), random_state=0)
ExplainedVarianceDisplay.from_estimator(ordered.fit(X_train), X_test)
plt.show()

# %%
# Outliers
# --------
#
# A histogram of the scores of any outlier detector, with its threshold. Malignant
# tumors are labeled as outliers here. Rows below the threshold are marked at the
# bottom, so that single rows are visible.

tumors = load_breast_cancer()
y = np.where(tumors.target_names[tumors.target] == "malignant", -1, 1)
detector = IsolationForest(contamination=0.1, random_state=0).fit(tumors.data)
display = OutlierDisplay.from_estimator(detector, tumors.data, y)
plt.show()

# %%
# Artists are attributes. Here, the histogram is drawn again with other bins and a new
# label of its axis.

display.plot(bins=20)
display.ax_.set_xlabel("score of the isolation forest")
plt.show()
