"""The names to import, `synflow.prune` and all others of `prune.__all__`, and the command line.

`prune`, and torch with it, is imported when one of its names is first used: `synflow --help` and
`synflow.__version__` need neither.
"""

import os
import sys
from importlib.util import find_spec

__version__ = "1.0.0"

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = ("cli", "experiments", "prune", "reference", "train")
TYPE_CHECKING = False  # type checkers read it as True; `typing` is not imported for it

if TYPE_CHECKING:
    from prune import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """Import `prune` and return its `name` (PEP 562)."""
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module 'synflow' has no attribute {name!r}")
        check_packages("prune")
        import prune

        if name == "__all__":
            return list(prune.__all__)
        if name not in prune.__all__:
            raise AttributeError(f"module 'synflow' has no attribute {name!r}")
        return getattr(prune, name)

    def __dir__() -> list[str]:
        return sorted([*__getattr__("__all__"), "__version__"])


def check_packages(*names: str) -> None:
    """Check that `import NAME` finds the modules beside this file. No module is executed.

    Args:
        names: Members of PACKAGES.

    Raises:
        ImportError: If it finds another module of that name, or has already imported one.
    """
    for name in names:
        found = _location(name)
        if found is None:
            raise ImportError(f"{name} is missing in {HERE}: install SynFlow again")
        ours = (os.path.join(HERE, f"{name}.py"), os.path.join(HERE, name, "__init__.py"))
        if not any(os.path.exists(file) and os.path.samefile(file, found) for file in ours):
            raise ImportError(
                f"Python imports {name} from {found}, and not from {HERE} with the rest of "
                "SynFlow: rename it, or remove its folder from PYTHONPATH"
            )


def _location(name: str) -> str | None:
    """The file, or the folder without __init__.py, from which Python imports a module."""
    if name in sys.modules:
        spec = sys.modules[name].__spec__
    else:
        spec = find_spec(name)
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def main(program: str = "synflow") -> None:
    """Run the command line.

    Args:
        program: The words that started it, for help and error messages.
    """
    try:
        check_packages(*PACKAGES)
    except ImportError as error:
        sys.exit(f"Error: {error}")
    import cli

    cli.main(prog_name=program)


def _leave_current_folder() -> None:
    """Remove the current folder, which `python -m` has put first on sys.path.

    It may hold a train.py or a csv.py.
    """
    added = not getattr(sys.flags, "safe_path", False)  # Python 3.11: -P adds nothing
    if added and os.path.isdir(sys.path[0]) and not os.path.samefile(sys.path[0], HERE):
        del sys.path[0]


if __name__ == "__main__":
    _leave_current_folder()
    main("python -m synflow")
