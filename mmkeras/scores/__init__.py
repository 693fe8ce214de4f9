"""Numbers on how good outputs are, and how sure one may be of them. No Keras here.

`classes`, `labels`, `numbers` and `pairs` each have

- `measured(...)`: {score: float} of rows, by scikit-learn where it has the score;
- `redrawn(..., counts)`: {score: (draws,)}, the same scores of the same rows when row i
  counts `counts[draw, i]` times, for all draws at once; nan where a draw cannot have
  the score. What one row counts zero times is not seen.

`resampling` makes the counts of a bootstrap, `ranking` holds the scores of an order,
`calibration` what probabilities are worth.
"""
