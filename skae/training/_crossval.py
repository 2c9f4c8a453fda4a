"""Cross-validation: runs on all folds at once, and a test of their gains."""

from hashlib import blake2b

import numpy as np

from skae.data._rows import dense
from skae.training._run import LEVEL, TrainingRun, t_bound, winsorize
from skae.training._trainer import warmup_cosine

N_FOLDS, MIN_DISTINCT_ROWS = 5, 10
# Of the test against PCA. Few rows may lack the outliers.
LEVEL_OF_FEW_DISTINCT_ROWS, FEW_DISTINCT_ROWS = 0.01, 150


def distinct_rows(X) -> np.ndarray:
    """Return a number for each row, from 0 on, which is the same for equal rows.

    The numbers do not depend on the order of the rows.
    """
    # Hashes are compared, since a dense copy of sparse rows may be large.
    hashes = [blake2b(dense(X[[i]]).tobytes()).digest() for i in range(X.shape[0])]
    return np.unique(hashes, return_inverse=True)[1]


def cross_validation_folds(X, seed: int) -> tuple[np.ndarray, ...]:
    """Return the indices of the validation rows of each fold.

    Every row is in one fold, and equal rows are in the same one, so that no row is both
    trained on and validated, and integer weights equal repeated rows. There are five
    folds, and none for fewer than 10 different rows.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The rows.

    seed : int
        Determines the folds.
    """
    number = distinct_rows(X)
    n_distinct = number.max() + 1
    if n_distinct < MIN_DISTINCT_ROWS:
        return ()
    fold = np.random.default_rng(seed).permutation(n_distinct) % N_FOLDS
    return tuple(np.flatnonzero(fold[number] == i) for i in range(N_FOLDS))


class CrossValidation(TrainingRun):
    """A run for each fold, all trained at once, epoch by epoch.

    The best epoch is the one of lowest mean validation loss over the folds. The loss
    of a fold is divided by its loss at the start, so that no fold dominates. Mean
    losses are multiplied by the mean loss at the start, which restores their unit.

    It is itself the run of the first fold, whose model is the best available one before
    the fit on all rows.

    Parameters
    ----------
    folds : list of TrainingRun
        The runs at the start, each with validation rows.

    n_distinct : int
        The number of different rows in all folds.

    Attributes
    ----------
    others : list of TrainingRun
        The runs of the other folds.

    fold, weight : ndarray of shape (n_samples,)
        The fold and the weight of each row. Rows are in the order of the folds.

    units : ndarray of shape (n_folds,)
        The mean loss of each fold at the start, or 1 if it is 0.

    start_losses, losses_of_others : ndarray of shape (n_samples,)
        The relative loss of each row at the start, and at the epoch that is best for
        the other folds. At the best epoch for the row's own fold it would be biased.
    """

    def __init__(self, folds: list[TrainingRun], n_distinct: int):
        first, *self.others = folds
        super().__init__(first.trainer, first.pca, first.validation)
        self.n_distinct = n_distinct
        weights = [fold.evaluation.weight.cpu().numpy() for fold in folds]
        self.weight = np.concatenate(weights).astype(np.float64)
        self.fold = np.repeat(np.arange(len(folds)), [len(w) for w in weights])
        self.units = np.ones(len(folds))

    def schedule_epochs(
        self, n_epochs: int, schedule=warmup_cosine, n_iter_no_change=np.inf, tol=0.0
    ) -> None:
        """Schedule epochs of all folds."""
        for fold in self.others:
            fold.schedule_epochs(n_epochs, schedule)
        super().schedule_epochs(n_epochs, schedule, n_iter_no_change, tol)

    def losses_at_start(self) -> tuple[float, float]:
        """Return the mean loss at the start, and that of the mean, over the folds."""
        self.state.load(self.state.start)
        losses = self.row_losses()
        sums = np.bincount(self.fold, self.weight * losses)
        means = sums / np.bincount(self.fold, self.weight)
        # Without a loss at the start nothing is left to gain.
        self.units = np.where(means > 0, means, 1.0)
        self.start_losses = self.losses_of_others = losses / self.units[self.fold]
        self.lowest_of_others = np.full(len(means), np.inf)
        null_losses = [r.trainer.objective.null_loss(r.evaluation) for r in self.runs]
        return self.evaluate(), self.mean_over_folds(null_losses)

    def train_steps(self) -> float:
        """Take the steps of an epoch in each fold, and return the mean loss."""
        losses = [super().train_steps(), *(fold.train_steps() for fold in self.others)]
        return self.mean_over_folds(losses)

    def row_losses(self) -> np.ndarray:
        """Return the validation losses of all rows, (n_samples,)."""
        return np.concatenate(
            [r.trainer.objective.validation_losses(r.evaluation) for r in self.runs]
        )

    def evaluate(self) -> float:
        """Return the mean validation loss over the folds."""
        losses = self.row_losses() / self.units[self.fold]
        sums = np.bincount(self.fold, self.weight * losses)
        of_others = sums.sum() - sums
        is_lower = of_others < self.lowest_of_others
        self.lowest_of_others = np.where(is_lower, of_others, self.lowest_of_others)
        self.losses_of_others = np.where(
            is_lower[self.fold], losses, self.losses_of_others
        )
        return float(self.unit * sums.sum() / self.weight.sum())

    @property
    def runs(self) -> list[TrainingRun]:
        """The runs of all folds."""
        return [self, *self.others]

    @property
    def unit(self) -> float:
        """The mean loss at the start over the folds."""
        return float(np.average(self.units[self.fold], weights=self.weight))

    def mean_over_folds(self, losses: list[float]) -> float:
        """Return the mean of losses of the folds relative to those at the start."""
        relative = (np.asarray(losses) / self.units)[self.fold]
        return float(self.unit * np.average(relative, weights=self.weight))

    def free_buffers(self) -> None:
        """Free all but the first fold's rows and best state."""
        super().free_buffers()
        self.others = []

    def improves_on_start(self) -> bool:
        """Return whether the loss is significantly lower than at the start.

        The mean in the unit of the data must be lower, and the t-test on the winsorized
        relative gains significant.
        """
        gains, n = self.start_losses - self.losses_of_others, self.n_distinct
        limited, share = winsorize(gains, self.weight)
        t = corrected_t(limited, self.weight, n, len(self.units))
        level = LEVEL_OF_FEW_DISTINCT_ROWS if n < FEW_DISTINCT_ROWS else LEVEL
        is_lower = self.best_iter > 0 and self.gain_in_data_unit(gains) > 0
        return is_lower and t > t_bound(level, n, share)

    def gain_in_data_unit(self, gains: np.ndarray) -> float:
        """Return the mean of gains relative to PCA's loss, in the unit of the data.

        The means of relative gains and of gains may differ in sign: PCA's loss is large
        in the fold of an extreme row, so that its relative gain is small.
        """
        power = self.model.loss.power
        scales = np.array([run.pca.scale for run in self.runs])
        units = self.units * (scales / scales[0]) ** power
        return float(np.average(gains * units[self.fold], weights=self.weight))


def corrected_t(gains, weight, n_distinct: int, n_folds: int) -> float:
    """Return the t-statistic of gains in a cross-validation.

    The gains of rows are correlated, since the training rows of the folds overlap. The
    correction adds the reciprocal of the number of training rows to that of all rows in
    the variance of the mean (Nadeau & Bengio 2003, with the variance of rows in place
    of that of folds).

    Parameters
    ----------
    gains : ndarray of shape (n_samples,)
        The gain of each row, when it was held out.

    weight : ndarray of shape (n_samples,)
        The weights of the rows.

    n_distinct : int
        The number of different rows.

    n_folds : int
        The number of folds.

    Returns
    -------
    t : float
        The statistic, with n_distinct - 1 degrees of freedom. Without a variance it is
        infinite for a positive gain, else 0.
    """
    mean = np.average(gains, weights=weight)
    variance = np.average(np.square(gains - mean), weights=weight)
    n_training = n_distinct * (1 - 1 / n_folds)
    unbiased = variance * n_distinct / (n_distinct - 1)
    error = np.sqrt(unbiased * (1 / n_distinct + 1 / n_training))
    if error > 0:
        return float(mean / error)
    return float(np.inf if mean > 0 else 0)
