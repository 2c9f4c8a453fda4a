"""Reconstruction: a fitted autoencoder's codes, the rows they stand for, the error."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skae._sklearn import check_sample_weight
from skae.data._rows import StandardizedRows, cast_rows, dense, row_blocks
from skae.data._validation import validate_rows


class ReconstructionMixin:
    """Codes, reconstructions and their errors, a block of rows at a time."""

    def score(self, X, y=None, sample_weight=None):
        """Return the share of variance, or of the loss's deviance, that is explained.

        That is `1 - loss(model) / loss(mean)`, where the mean is that of the training
        rows. It is 1 for a perfect reconstruction, 0 for the mean, and negative for a
        model that is worse.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        y : None
            Ignored.

        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.

        Returns
        -------
        score : float
            The share.
        """
        check_is_fitted(self)
        X = validate_rows(self, X)
        weight = check_sample_weight(sample_weight, X, dtype=np.float64)
        loss = null = 0.0
        module = self.module_
        with torch.inference_mode():
            for block, rows in self._blocks(X):
                output = module.decode(module.encode(rows))
                constant = module.constant(rows)
                loss += weight[block] @ mean_of(self._losses(rows, output))
                null += weight[block] @ mean_of(self._losses(rows, constant))
        return float(loss == 0) if null == 0 else float(1 - loss / null)

    def reconstruction_error(self, X, per_feature=False):
        """Return the loss between rows and their reconstructions.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features), \
                or array-like of the shape that `fit` saw
            The rows.

        per_feature : bool, default=False
            Whether to return the loss of each entry, rather than the mean over
            features.

        Returns
        -------
        error : ndarray of shape (n_samples,) or (n_samples, n_features)
            The error, in the loss's unit: the square of the data's for
            "squared_error" and "huber" (whose bend is at `scale_`), the data's for
            "absolute_error", none for the others.
        """
        check_is_fitted(self)
        X = validate_rows(self, X)
        errors = np.empty(X.shape if per_feature else X.shape[:1])
        module = self.module_
        unit = self.scale_**module.loss.power
        with torch.inference_mode():
            for block, rows in self._blocks(X):
                losses = self._losses(rows, module.decode(module.encode(rows))) * unit
                errors[block] = losses if per_feature else mean_of(losses)
        return errors

    def _encode(self, X):
        codes = np.empty((X.shape[0], self.n_components_), dtype=X.dtype)
        with torch.inference_mode():
            for block, rows in self._blocks(X):
                components = self.module_.encode(rows).cpu().numpy()
                marked = self._blueprint.layout.append_lengths(components, X[block])
                codes[block] = cast_rows(marked, X.dtype)
        return codes

    def _decode(self, codes):
        layout = self._blueprint.layout
        codes, marks = np.split(codes, [self.n_components_ - layout.n_lengths], axis=1)
        in_unit, decoded = self.module_.loss.reconstruction, []
        with torch.inference_mode():
            for block in row_blocks(len(codes), layout.n_outputs):
                output = self.module_.decode(self.module_.as_input(dense(codes[block])))
                rows = in_unit(output, self.mean_, self.scale_)
                decoded.append(layout.cast(rows, codes.dtype))
        return layout.unflatten(np.concatenate(decoded), marks)

    def _blocks(self, X):
        """Yield slices of rows, and the standardised rows as tensors."""
        n_outputs = self._blueprint.layout.n_outputs
        rows = StandardizedRows(X, self.mean_, self.scale_, width=n_outputs)
        for block in rows.blocks():
            yield block, self.module_.as_input(rows[block])

    def _losses(self, rows, output):
        """Return the loss of each entry of an output."""
        loss = self.module_.loss
        mean = torch.tensor(self.mean_).to(rows)  # a copy: it may lie on disk
        target = loss.target(rows, mean, self.scale_)
        return self.module_.losses(output, target).cpu().numpy().astype(np.float64)


def mean_of(losses):
    """Return each row's mean over what is there, shape (n_rows,)."""
    return np.nanmean(losses, axis=1)
