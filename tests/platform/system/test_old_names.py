"""Class paths of the previous release, as configurations contain them."""

from importlib import import_module

import pytest

from polyclinic import tasks, training
from polyclinic.system.old_names import OLD_NAMES


@pytest.mark.parametrize("old", OLD_NAMES)
def test_an_old_name_resolves_with_a_warning_that_names_the_new_one(old: str) -> None:
    package, _, name = old.rpartition(".")
    new_package, _, new_name = OLD_NAMES[old].rpartition(".")
    with pytest.warns(FutureWarning, match=f"{old} is now {OLD_NAMES[old]}"):
        resolved = getattr(import_module(package), name)
    assert resolved is getattr(import_module(new_package), new_name)


def test_the_strategy_of_older_configurations_is_among_the_old_names() -> None:
    with pytest.warns(FutureWarning, match=r"polyclinic\.training\.ShardedEncoders"):
        assert tasks.ShardedEncoders is training.ShardedEncoders


def test_a_name_that_never_existed_is_not_found() -> None:
    with pytest.raises(AttributeError, match=r"module 'polyclinic\.tasks' has no attribute 'Sharded'"):
        tasks.Sharded  # noqa: B018
