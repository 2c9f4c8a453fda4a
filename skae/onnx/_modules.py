"""Outlier detectors and imputers as PyTorch modules, from which ONNX is written."""

import numpy as np
import torch
from torch import Tensor, nn

from skae._imputer import AutoencoderImputer
from skae._outlier import (
    AutoencoderOutlierDetector,
    as_tensors,
    combine,
    row_parts,
)
from skae.model._exported import ExportedAutoencoder


class ImputedRows(nn.Module):
    """Rows with predictions in place of missing values, as the imputer returns them.

    Parameters
    ----------
    imputer : AutoencoderImputer
        A fitted imputer of numbers.
    """

    def __init__(self, imputer: AutoencoderImputer):
        super().__init__()
        check_imputer(imputer)
        self.missing_value = imputer.missing_values
        self.autoencoder = imputer.autoencoder_.to_torch_module()
        empty = imputer.empty_
        present = np.flatnonzero(~empty)
        indicated = imputer.indicated_ if imputer.add_indicator else np.empty(0, int)
        for name, array in {
            # The positions of columns with values, and of those that are returned.
            "present": present,
            "kept": np.arange(len(empty)) if imputer.keep_empty_features else present,
            "indicated": indicated,
            # Empty columns are filled with zeros.
            "spread": np.eye(len(empty))[present],
            "mean": imputer.scaler_.mean_,
            "scale": imputer.scaler_.scale_,
        }.items():
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, X: Tensor) -> Tensor:
        """Return rows of shape (n_samples, n_features_out)."""
        rows = X.to(self.mean.dtype)
        is_nan = np.isnan(self.missing_value)
        missing = rows.isnan() if is_nan else rows == self.missing_value
        standardized = (rows[:, self.present] - self.mean) / self.scale
        hidden = missing[:, self.present]
        # A row without values is filled with the means.
        is_read = hidden & ~hidden.all(dim=1, keepdim=True)
        standardized = torch.where(hidden, 0.0, standardized)
        read = torch.where(is_read, torch.nan, standardized)
        filled = torch.where(is_read, self.autoencoder(read), standardized)
        predicted = (filled * self.scale + self.mean) @ self.spread
        filled = torch.where(missing, predicted, rows)[:, self.kept]
        indicators = missing[:, self.indicated].to(rows.dtype)
        return torch.cat([filled, indicators], dim=1).to(X.dtype)


def check_imputer(imputer: AutoencoderImputer) -> None:
    """Raise ValueError for an imputer that a module cannot represent."""
    if imputer.sample_posterior:
        raise ValueError(
            "Got an imputer with sample_posterior=True, but exported models draw no "
            "random numbers. Set sample_posterior=False."
        )
    if imputer.scaler_ is None:
        raise ValueError(
            "Got an imputer of a table of mixed columns, or of columns without values, "
            "but only imputers of numbers are exported. Encode the columns as numbers "
            "before, and remove empty ones."
        )


class OutlierScores(nn.Module):
    """Decision function of a detector: the score of each row less the threshold.

    Parameters
    ----------
    detector : AutoencoderOutlierDetector
        A fitted detector.
    """

    def __init__(self, detector: AutoencoderOutlierDetector):
        super().__init__()
        members = [a.to_torch_module() for a in detector.estimators_]
        self.members = nn.ModuleList(members)
        scaler, self.offset = detector.scaler_, detector.offset_
        self.has_scaler = scaler is not None
        if self.has_scaler:
            scale = torch.from_numpy(scaler.scale_)
            mean = scaler.mean_ if scaler.with_mean else np.zeros_like(scaler.scale_)
            self.register_buffer("mean", torch.from_numpy(mean))
            self.register_buffer("scale", scale)
        # As parameters, of which a list can be registered, and without gradients.
        self.units = nn.ModuleList(
            nn.ParameterList(nn.Parameter(t, False) for t in as_tensors(unit))
            for unit in detector._units
        )

    def forward(self, X: Tensor) -> Tensor:
        """Return the decision function, of shape (n_samples, 1)."""
        rows = (X.double() - self.mean) / self.scale if self.has_scaler else X
        pairs = zip(self.members, self.units, strict=True)
        parts = []
        for member, units in pairs:
            errors, codes = errors_and_codes(member, rows)
            parts.append(row_parts(errors, codes, list(units)))
        scores = combine(parts).unsqueeze(1) - self.offset
        return scores.to(X.dtype) if X.is_floating_point() else scores.float()


def errors_and_codes(exported: ExportedAutoencoder, X: Tensor):
    """Return the errors of columns in the unit of the data, and codes, in float64."""
    model, rows = exported.model, exported.flat_rows(X)
    x = exported.standardize(rows)
    codes = model.encode(x)
    target = model.loss.target(x, exported.mean.to(x.dtype), exported.scale.to(x.dtype))
    losses = model.adapter.losses(model.decode(codes), target)
    errors = losses.double() * exported.scale**model.loss.power
    return errors, exported.rows.append_lengths(codes.double(), rows)
