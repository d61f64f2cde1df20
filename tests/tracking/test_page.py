"""MLflow's page in headless Chromium, as it opens from the link that a sweep prints."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command_line import QUICK, client, environment, run_here, runs

from bnn.schema import PARENT
from bnn.tracking.mlflow_adapter import SHARED_VIEW

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.browser]
CHOICES = {"estimator": "st,reinforce", "placement": "first,both"}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small sweep with heatmaps, and the address that it printed."""
    folder = tmp_path_factory.mktemp("sweep")
    words = [
        *QUICK,
        "trainer.epochs=2",
        "tracking.heatmaps=true",
        *(f"{key}={value}" for key, value in CHOICES.items()),
    ]
    result = run_here(folder, "-m", *words, drawn=True)
    assert result.returncode == 0, result.stderr
    (link,) = re.findall(r"http\S+viewStateShareKey\S+", result.stdout)
    return folder, link


@pytest.fixture(scope="module")
def browser() -> Iterator:
    if not (chromium := shutil.which("chromium")) or not (driver := shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver are not installed: MLflow's page is not looked at")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = (
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-quic",
        "no-first-run",
    )
    for word in ("headless", "no-sandbox", "disable-gpu", "window-size=1500,4200", *quiet):
        options.add_argument(f"--{word}")
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


class Page:
    """`mlflow ui` in a folder, seen through a browser."""

    def __init__(self, browser, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.browser = browser
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "ui", "--port", str(self.port), "--workers", "1"],
            cwd=folder,
            env=environment(
                MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true"
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def open(self, link: str) -> None:
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + 90
        while True:
            try:
                self.browser.get("about:blank")
                return self.browser.get(link.replace(":5000", f":{self.port}"))
            except WebDriverException:
                assert time.monotonic() < deadline, "mlflow ui did not start"
                time.sleep(0.5)

    def shows(self, what: Callable[[], bool], patience: float) -> bool:
        """Whether it is on the page, once the page has had time to draw it."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if what():
                return True
            time.sleep(0.5)
        return False

    def text(self) -> str:
        return str(self.browser.execute_script("return document.body.innerText"))

    def pictures(self) -> int:
        """Pictures of layers that were loaded, and are large enough to be looked at."""
        wide = (
            "[...document.images].filter("
            "i => i.src.includes('heatmap') && i.naturalWidth > 400 && i.width > 400)"
        )
        return int(self.browser.execute_script(f"return {wide}.length"))

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def page(browser, swept: tuple[Path, str]) -> Iterator[Page]:
    made = Page(browser, swept[0])
    yield made
    made.close()


SECTIONS = ("test", "validation", "training", "heatmaps", "units")


def lacks(page: Page, children: int = 4, layers: int = 2) -> list[str]:
    """What a person would look for after a sweep, and does not find."""
    text = page.text()
    places = [
        found.start() if (found := re.search(rf"^{title}\s\(\d+\)$", text, re.M)) else -1
        for title in SECTIONS
    ]
    found = {
        **{
            f"the section {title}": place >= 0
            for title, place in zip(SECTIONS, places, strict=True)
        },
        "the sections in their order": places == sorted(places),
        **{
            f"runs of {name}": f"stochastic · {name} · both · s0" in text
            for name in CHOICES["estimator"].split(",")
        },
        "the children": f"{children} matching runs" in text,
        "pictures of what the layers make of images": page.pictures() >= layers * children,
        "a slider over their epochs": len(
            page.browser.find_elements("css selector", "[role=slider]")
        )
        == layers,
    }
    return [what for what, there in found.items() if not there]


def missing(page: Page, link: str, patience: float) -> list[str]:
    page.open(link)
    page.shows(lambda: not lacks(page), patience)
    return lacks(page)


def test_a_sweep_is_understood_as_its_page_opens(page: Page, swept: tuple[Path, str]) -> None:
    assert missing(page, swept[1], 60) == []
    (parent,) = runs(swept[0], "sweep")
    start, kind = swept[1].partition("?")[0], "?workflowType=machine_learning"
    page.open(f"{start}/{parent.info.run_id}{kind}")
    for what in ("4 runs on scikit-learn digits", "accuracy (%)", "stochastic · st · first · s0"):
        assert page.shows(lambda what=what: what in page.text(), 30), what
    link = f'a[href*="/runs/{runs(swept[0], "run")[0].info.run_id}"]'
    assert page.browser.find_elements("css selector", link), "the table links its runs"
    page.open(f"{start}{kind}")
    what = "Newest sweep: charts, table"
    assert page.shows(lambda: what in page.text(), 30), what
    page.open(f"{start}/{runs(swept[0], 'run')[0].info.run_id}{kind}")
    for what in (
        "best epoch",
        "evaluation",
        "sweep: ",
        "estimator",
        "placement",
        "neuron",
        "digits",
    ):
        assert page.shows(lambda what=what: what in page.text(), 30), what


def test_without_nesting_it_is_not(page: Page, swept: tuple[Path, str]) -> None:
    store, (parent,) = client(swept[0]), runs(swept[0], "sweep")
    for run in runs(swept[0], "run"):
        store.delete_tag(run.info.run_id, PARENT)
    assert "the children" in missing(page, swept[1], 15)
    for run in runs(swept[0], "run"):
        store.set_tag(run.info.run_id, PARENT, parent.info.run_id)


def test_without_heatmaps_it_is_not(page: Page, swept: tuple[Path, str]) -> None:
    taken = [
        folder.rename(folder.with_name("taken"))
        for folder in (swept[0] / "mlartifacts").rglob("images")
    ]
    assert taken and missing(page, swept[1], 15)[0] == "pictures of what the layers make of images"
    for folder in taken:
        folder.rename(folder.with_name("images"))


def test_without_its_view_it_is_not(page: Page, swept: tuple[Path, str]) -> None:
    store = client(swept[0])
    experiment = store.get_experiment_by_name("bnn/digits")
    for tag in experiment.tags:
        if tag.startswith(SHARED_VIEW):
            store.set_experiment_tag(experiment.experiment_id, tag, "{}")
    assert "the section heatmaps" in missing(page, swept[1], 15)
