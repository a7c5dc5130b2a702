"""Studies: questions answered with the catalogue and the cost model. One file a study: rows, figures, one page.

`weft study NAME` writes `docs/studies/NAME.md` with its CSV and figures. No number on a page is typed: when the
catalogue or the calibration changes, the command is run again.
"""
