"""pyproject.toml names every package: one that is missing works from a checkout and is absent from the wheel."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = ("common", "master", "services", "commands", "conf")


def _declared() -> set[str]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return set(tomllib.load(file)["tool"]["setuptools"]["packages"])


def test_every_folder_with_modules_is_a_declared_package() -> None:
    found = {
        "tubepost." + ".".join(path.parent.relative_to(ROOT).parts)
        for top in TOP
        for path in (ROOT / top).rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert found == _declared()


def test_every_package_has_a_docstring_that_says_what_it_is() -> None:
    for name in _declared():
        path = ROOT.joinpath(*name.split(".")[1:], "__init__.py")
        assert path.is_file(), f"{path} is missing"
        assert path.read_text().lstrip().startswith('"""'), f"{path} does not say what it is"


def test_every_command_of_the_scripts_exists() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    for target in scripts.values():
        module, _, function = target.partition(":")
        path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
        assert f"def {function}(" in path.read_text(), f"{target} is not there"
