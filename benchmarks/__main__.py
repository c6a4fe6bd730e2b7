"""What the package costs, in one table: python -m benchmarks."""

import torch

from benchmarks import monitoring, recording, speed
from benchmarks.ratios import machine, table


def main() -> None:
    torch.set_num_threads(1)
    print(machine())
    groups = speed.rows()
    with recording.peers():
        groups |= recording.rows() | monitoring.rows()
    print(table(groups, recording.LIMITS | monitoring.LIMITS | speed.LIMITS))


if __name__ == "__main__":
    main()
