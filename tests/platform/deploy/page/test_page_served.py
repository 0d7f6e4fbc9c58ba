"""The page as `polyclinic serve` serves it, with a bundle."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from browser import chrome, every, one, reach, text, wait
from service_process import TOKEN, Served, serving

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def served(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(bundle_folder, tmp_path_factory.mktemp("service"), "--per_minute", "0") as service:
        yield service


@pytest.fixture(scope="module")
def browser(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chrome(tmp_path_factory.mktemp("browser")) as driver:
        driver.get(served.address)
        yield driver
        # The browser logs the answer to the request without a token; nothing else may be logged.
        assert not [entry["message"] for entry in driver.get_log("browser") if "status of 401" not in entry["message"]]


def test_a_study_is_scored_explained_and_scored_again_without_its_radiograph(
    browser: webdriver.Chrome, study_files: dict[str, Path]
) -> None:
    wait(lambda: one(browser, "#token").is_displayed())
    one(browser, "#token").send_keys(TOKEN, Keys.ENTER)
    wait(lambda: "bundle" in text(browser, "bundle"))
    assert "must not be used to diagnose" in text(browser, "banner")
    paths = [*study_files.values(), study_files["ecg"].with_suffix(".dat")]
    one(browser, "#chosen").send_keys("\n".join(map(str, paths)))
    wait(lambda: text(browser, "status").startswith("2 findings."))
    kinds = {card.get_attribute("data-modality"): card.get_attribute("class") for card in every(browser, ".card")}
    assert kinds == {
        "xray": "card picture", "ecg": "card traces", "tabular": "card rows", "report": "card words"
    }  # fmt: skip
    assert "it is not used as input" in text(browser, "notes")
    reach(browser, '[data-finding="cardiomegaly"]').click()
    wait(lambda: "The views show the evidence for Cardiomegaly." in text(browser, "status"))
    assert "on validation studies with these modalities" in one(browser, ".details").text
    assert len(every(browser, ".where")) == 3
    before = one(browser, '[data-finding="cardiomegaly"] .number').text
    # The file ends in .dcm, so that only the service can recognise that it is not an electrocardiogram.
    reach(browser, '[role="switch"][name="xray"]').click()
    wait(lambda: len(every(browser, ".change")) == 2)
    assert f"{before} with all modalities" in one(browser, '[data-finding="cardiomegaly"]').text
    assert "off" in str(one(browser, '[data-modality="xray"]').get_attribute("class"))
