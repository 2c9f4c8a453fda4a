"""Reconstruction of MNIST with 30 components.

Hinton and Salakhutdinov (Science 313, 2006) report a squared error of 3.00 per test
image (sum over pixels in [0, 1]) for the layers 784-1000-500-250-30, and 13.87 for PCA.
"mlp" has the same layers, and "conv" has two convolutions followed by layers of 500 and
250 units. Four copies of each training image are deformed at random, and their time is
part of the fit. The settings were chosen on held-out training images.

    python tests/benchmarks/mnist.py --data FOLDER [--network {mlp,conv,all}]

FOLDER holds mnist.npz with `X_train` and `X_test` of 784 gray values from 0 to 255.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch.nn import functional as F

from skae import MLP, AutoencoderTransformer, Conv

NETWORKS = {
    "mlp": {
        "network": MLP((1000, 500, 250)),
        "learning_rate": 2e-3,
        "alpha": 0.5,
        "batch_size": 256,
        "max_iter": 42,
    },
    "conv": {
        "network": Conv(
            (1, 28, 28), channels=(16, 32), kernel_size=3, hidden_layer_sizes=(500, 250)
        ),
        "learning_rate": 1e-2,
        "alpha": 0.3,
        "batch_size": 256,
        "max_iter": 22,
    },
}
N_VALIDATION = 5000  # the last training images, on which the settings were chosen
N_DEFORMED = 4  # copies of each training image
GRID = 4  # displacements are drawn on a grid of 4 x 4 points and interpolated
DISPLACEMENT = 0.5  # their standard deviation, in pixels


def images(folder):
    """Return training and test images with pixels in [0, 1]."""
    with np.load(Path(folder) / "mnist.npz", allow_pickle=False) as data:
        return [
            (data[name].reshape(-1, 784) / 255).astype(np.float32)
            for name in ("X_train", "X_test")
        ]


def deformed(X, seed):
    """Return images whose pixels are displaced by a smooth random field.

    The fields are drawn anew for each image, and their mean is zero: images are
    slightly rotated, scaled, slanted and bent, but not shifted.
    """
    generator = torch.Generator().manual_seed(seed)
    # (1, 28, 28, 2), from -1 to 1
    positions = F.affine_grid(
        torch.eye(2, 3)[None], (1, 1, 28, 28), align_corners=False
    )
    blocks = []
    for block in torch.from_numpy(X).split(5000):
        coarse = torch.randn(len(block), 2, GRID, GRID, generator=generator)
        field = F.interpolate(coarse, (28, 28), mode="bicubic", align_corners=True)
        field -= field.mean((2, 3), keepdim=True)
        moved = positions + 2 / 28 * DISPLACEMENT * field.permute(0, 2, 3, 1)
        pixels = block.view(-1, 1, 28, 28)
        # Bilinear interpolation would blur the images.
        pixels = F.grid_sample(pixels, moved, mode="bicubic", align_corners=False)
        blocks.append(pixels.flatten(1).clamp(0, 1))
    return torch.cat(blocks).numpy()


def with_deformed(X):
    """Return images, and copies of them that are deformed."""
    return np.concatenate([X, *(deformed(X, seed) for seed in range(N_DEFORMED))])


def error_per_image(model, X):
    """Return the mean over images of the sum over pixels of squared errors."""
    reconstruction = model.inverse_transform(model.transform(X))
    return float(np.square(reconstruction - X).sum(axis=1).mean())


def autoencoder(name, n_epochs=None, precision="bfloat16"):
    """Return an autoencoder; `n_epochs` replaces the number of epochs in NETWORKS."""
    settings = NETWORKS[name]
    return AutoencoderTransformer(
        30,
        loss="brier",
        precision=precision,
        random_state=0,
        **{**settings, "max_iter": n_epochs or settings["max_iter"]},
    )


def fit(model, train, validation):
    """Fit PCA, or an autoencoder with deformed images; return the CPU seconds."""
    start = time.process_time()
    if isinstance(model, PCA):
        model.fit(train)
    else:
        model.fit(with_deformed(train), X_val=validation)
    return time.process_time() - start


def report(name, model, train, test):
    """Fit a model and print its errors and the time of the fit."""
    train, validation = train[:-N_VALIDATION], train[-N_VALIDATION:]
    seconds = fit(model, train, validation)
    sets = train[:10_000], validation, test
    errors = "".join(f"{error_per_image(model, X):10.2f}" for X in sets)
    print(f"{name:5}{errors}{seconds:9.0f}", flush=True)


def main():
    """Fit PCA and the networks, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="folder with mnist.npz")
    parser.add_argument("--network", choices=[*NETWORKS, "all"], default="all")
    parser.add_argument("--epochs", type=int, help="number of epochs of every network")
    parser.add_argument(
        "--precision",
        choices=["bfloat16", "float32"],
        default="bfloat16",
        help="type of products; processors without bfloat16 need float32",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train, test = images(arguments.data)
    names = NETWORKS if arguments.network == "all" else [arguments.network]
    print("model     train  held out      test   CPU seconds")
    report("PCA", PCA(30), train, test)
    for name in names:
        model = autoencoder(name, arguments.epochs, arguments.precision)
        report(name, model, train, test)


if __name__ == "__main__":
    main()
