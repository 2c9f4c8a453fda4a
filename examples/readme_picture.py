"""Draw the figure of the README from the models of the first example."""

import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
TARGET = HERE.parent / "docs" / "_static" / "pca_beside_autoencoder.png"


def draw(example):
    """Return a figure of the two maps and the variance lost."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 5), layout="constrained")
    for ax, (name, model) in zip(axes, example["maps"].items(), strict=False):
        example["draw_map"](ax, model)
        ax.set_title(
            f"{name}, 2 components:\n{example['variance_lost'](model):.0%} lost"
        )
        ax.set(xlabel="", ylabel="")
    example["draw_losses"](axes[2])
    axes[2].set_title("Variance of\ntest images lost")
    axes[2].set_ylabel("")
    axes[2].yaxis.set_major_formatter("{x:.0f}%")
    digits = [
        plt.Line2D([], [], ls="", marker="o", ms=9, color=f"C{digit}", label=digit)
        for digit in range(10)
    ]
    figure.legend(
        handles=digits,
        loc="outside lower left",
        ncols=10,
        frameon=False,
        handletextpad=0,
        columnspacing=0.9,
    )
    return figure


def main():
    """Run the example and save the figure in the folder of the documentation."""
    mpl.use("Agg")
    example = runpy.run_path(str(HERE / "plot_pca_beside_autoencoder.py"))
    with mpl.rc_context({"font.size": 16, "axes.titlesize": 17}):
        draw(example).savefig(TARGET, dpi=120)
    print(f"{TARGET}: {TARGET.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
