"""All that the package offers: the names of its modules, of which the front door has some."""

from importlib import import_module

import d2lstab

HOME = {name: module for module in d2lstab._MODULES for name in import_module(f"d2lstab.{module}").__all__}
PUBLIC = {name: getattr(import_module(f"d2lstab.{module}"), name) for name, module in HOME.items()}
