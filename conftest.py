"""What every test run sets up before anything else: the same surroundings as `make notebooks`."""

from tests.execute_notebooks import prepare_environment

prepare_environment()
