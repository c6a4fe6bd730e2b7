"""What every test run sets up before anything else: the same surroundings as `make notebooks`."""

import os

import pytest

from tests.execute_notebooks import prepare_environment

prepare_environment()


def pytest_addoption(parser):
    help = "run tests and chapters as another processor would, whose number this is: see tests/jitter.py"
    parser.addoption("--jitter", type=int, metavar="SEED", help=help)


def pytest_configure(config):
    os.environ.pop("JITTER", None)
    if config.getoption("jitter") is not None:
        os.environ["JITTER"] = str(config.getoption("jitter"))  # for the chapters' kernels


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    seed = item.config.getoption("jitter")
    if seed is None or item.get_closest_marker("exact"):
        return (yield)
    from tests.jitter import Jitter

    with Jitter(seed):  # fixtures as well
        return (yield)
