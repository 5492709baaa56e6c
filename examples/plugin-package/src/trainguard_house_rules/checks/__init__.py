"""The checks, one file each; trainguard finds them through the entry point of this package."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__, prefix=f"{__name__}."):
    import_module(_module.name)
