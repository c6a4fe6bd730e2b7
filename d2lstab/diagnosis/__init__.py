"""What is wrong with a network, and what helps.

The way that data take, file by file: `subject` says what was given (and `borrowing`, beside this folder, keeps the
model as it is); `look` passes a batch through it once, with its `attention`; `answers`, `chaos`, `trial` and `origin`
ask it further, `expectation` asks theory; `evidence` holds all that; each rule of `faults` judges it and makes one of the
`findings`, with `repairs`; `report` tells. `diagnose` is the whole of it in words.
"""

from .diagnose import diagnose
from .findings import FAULTS, Finding
from .report import Diagnosis, Repair

__all__ = ["FAULTS", "Diagnosis", "Finding", "Repair", "diagnose"]
