"""The chart of events over time in a real browser: places, reference ranges, marks, relevance and the table."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

import page_service
from browser import chrome, every, one, reach, screen, text, wait
from page_service import FINDINGS, Service, serving
from polyclinic.modality import installed_modalities

ROWS = """anchor,time,code,value,unit,text,reference_low,reference_high
2024-01-02T12:00,2024-01-01T12:00,sodium,131,mmol/L,,135,145
2024-01-02T12:00,2024-01-02T00:00,sodium,138,mmol/L,,135,145
2024-01-02T12:00,2024-01-02T12:00,sodium,150,mmol/L,,135,145
2024-01-02T12:00,2024-01-02T06:00,culture,,,positive <b>,,
2024-01-02T12:00,2024-01-02T06:00,lactate,3.5,mmol/L,,,2
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chrome(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def service(
    browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:  # fmt: skip
    monkeypatch.setattr(page_service, "QUERY", ("timeline",))
    (tmp_path / "stay.csv").write_text(ROWS)
    plugin = installed_modalities()["timeline"]()
    raw = plugin.read(tmp_path / "stay.csv")
    plugin.fit([raw, raw])
    with serving({"timeline": plugin}) as service:
        browser.get_log("browser")
        screen(browser, 1280, "light")
        browser.get(service.address)
        wait(lambda: text(browser, "bundle") != "Loading the model ...")
        one(browser, "#chosen").send_keys(str(tmp_path / "stay.csv"))
        wait(lambda: every(browser, ".chart"))
        yield service
        messages = [entry["message"] for entry in browser.get_log("browser") if "status of" not in entry["message"]]
        assert not messages


def test_events_are_drawn_at_their_times_over_their_reference_range(
    browser: webdriver.Chrome, service: Service
) -> None:
    assert [each.text for each in every(browser, ".measurement")] == ["sodium", "culture", "lactate"]
    assert [each.text for each in every(browser, ".latest")] == ["150 mmol/L high", "positive <b>", "3.5 mmol/L high"]
    sodium, culture, lactate = every(browser, ".course:not([aria-hidden])")
    marks = sodium.find_elements("css selector", ".mark")
    assert [mark.get_attribute("x") or mark.get_attribute("cx") for mark in marks] == ["4.00%", "50.00%", "96.00%"]
    assert [mark.tag_name for mark in marks] == ["text", "circle", "text"]
    titles = [mark.find_element("css selector", "title").get_attribute("textContent") for mark in marks]
    assert titles == [
        "131 mmol/L, 24.0 h before, low", "138 mmol/L, 12.0 h before", "150 mmol/L, 0.0 h, high",
    ]  # fmt: skip
    bands = [
        [float(band.get_attribute(name)) for name in ("y", "height")]
        for band in sodium.find_elements("css selector", ".reference")
    ]
    height = 46 - 2 * 8  # of a row without its margins, for 131 to 150
    assert bands == [pytest.approx([8 + 5 / 19 * height, 10 / 19 * height])]
    assert not culture.find_elements("css selector", ".reference")
    (open_band,) = lactate.find_elements("css selector", ".reference")
    assert float(open_band.get_attribute("y")) + float(open_band.get_attribute("height")) == 46
    assert [each.text for each in every(browser, ".time")] == ["\N{MINUS SIGN}24 h", "\N{MINUS SIGN}18 h",
        "\N{MINUS SIGN}12 h", "\N{MINUS SIGN}6 h", "0 h"]  # fmt: skip


def test_relevance_is_a_ring_around_each_event_and_a_row_of_the_table(
    browser: webdriver.Chrome, service: Service
) -> None:
    assert not every(browser, ".ring")
    reach(browser, f'[data-finding="{FINDINGS[0]}"]').click()
    wait(lambda: every(browser, ".ring"))
    assert "Strongest in " in one(browser, ".where").text
    reach(browser, ".courses summary").click()
    rows = [row.text for row in every(browser, ".courses tbody tr th")]
    assert rows == [
        "sodium 0.0 h", "sodium 12.0 h before", "sodium 24.0 h before", "culture 6.0 h before", "lactate 6.0 h before",
    ]  # fmt: skip
    assert len(every(browser, ".courses tr.lit")) == len(every(browser, ".ring"))


@pytest.mark.parametrize("width", [320, 1280])
def test_the_chart_fits_every_width(browser: webdriver.Chrome, service: Service, width: int) -> None:
    screen(browser, width, "dark")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert all(each.size["width"] > 200 for each in every(browser, ".course"))
