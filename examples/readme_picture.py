"""Draw the figure of the README: the first figure of the first example."""

import runpy
from pathlib import Path

import matplotlib as mpl

HERE = Path(__file__).parent


def main():
    """Run the example and save its figure in the folder of the documentation."""
    mpl.use("Agg")
    example = runpy.run_path(str(HERE / "plot_1_pca_beside_autoencoder.py"))
    target = HERE.parent / "docs" / "_static" / "pca_beside_autoencoder.png"
    target.parent.mkdir(exist_ok=True)
    example["figure"].savefig(target, dpi=90)
    print(f"{target}: {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
