"""The page of all settings is that of the parser."""

from write_settings import PAGE, settings_page


def test_the_page_of_settings_is_that_of_the_parser() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "run tests/support/write_settings.py"
