"""Hints that can be followed as they stand."""

from pocketsam.utils import install


def test_from_a_checkout_the_command_names_its_folder():
    assert install.runs_from_checkout()
    assert install.how_to_install("export") == f"pip install -e '{install.CHECKOUT}[export]'"


def test_an_installed_package_is_told_to_use_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(install, "CHECKOUT", tmp_path)
    assert not install.runs_from_checkout()
    assert install.how_to_install("train") == "pip install '.[train]' in a checkout of PocketSAM's repository"


def test_what_is_installed_is_not_imported_to_know():
    assert install.installed("numpy")
    assert not install.installed("no_such_package")
