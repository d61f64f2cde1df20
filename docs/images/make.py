"""python docs/images/make.py: screenshots of the terminal, MLflow's sweep view and the report.

A small sweep on the bundled digits is run in a scratch folder and looked at in headless Chromium.
Needs `chromium` and `chromedriver` on the path, and the package `selenium` (extra `test-all`).
"""

from __future__ import annotations

import html
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

HERE = Path(__file__).resolve().parent
SWEEP = "-m estimator=st,reinforce placement=first,last,both data=digits trainer.epochs=4"
WIDTH = 1000
"""Pixels of a stored picture."""
TERMINAL = """<body style="margin:0;background:#1b1f24">
<pre style="margin:0;padding:18px;color:#d7dde4;
font:13px/1.45 'DejaVu Sans Mono',monospace">{}</pre></body>"""


def command(folder: Path, words: str) -> str:
    """Output of a command that is run in a folder, as a terminal shows it."""
    done = subprocess.run(
        [sys.executable, "-m", *words.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def chromium() -> webdriver.Chrome:
    """Headless browser."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in ("headless", "no-sandbox", "disable-gpu", "force-device-scale-factor=1"):
        options.add_argument(f"--{word}")
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def store(browser: webdriver.Chrome, name: str, height: int | None = None) -> None:
    """Store what the browser shows as `name`, small enough for a repository.

    Args:
        browser: browser at the page.
        name: file name.
        height: pixels of the page that are kept, from the top; None: all that the window shows.
    """
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    if height is not None:
        picture = picture.crop((0, 0, picture.width, min(height, picture.height)))
    if picture.width > WIDTH:
        size = (WIDTH, round(picture.height * WIDTH / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.quantize(128).save(HERE / name, optimize=True)
    print(f"{name}: {(HERE / name).stat().st_size / 1024:.0f} kB")


def terminal(browser: webdriver.Chrome, text: str, folder: Path) -> None:
    """Screenshot of a terminal."""
    page = folder / "terminal.html"
    page.write_text(TERMINAL.format(html.escape(text)), encoding="utf-8")
    browser.set_window_size(1340, 700)
    browser.get(page.as_uri())
    height = browser.execute_script("return document.querySelector('pre').offsetHeight")
    browser.set_window_size(1340, height + 160)
    store(browser, "terminal.png", height)


def mlflow_view(browser: webdriver.Chrome, link: str, folder: Path) -> None:
    """Screenshot of the view that the sweep's link opens in MLflow."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        browser.set_window_size(1500, 1400)
        end = time.monotonic() + 120
        while True:
            try:
                browser.get(link.replace(":5000", f":{port}"))
                break
            except WebDriverException:
                if time.monotonic() > end:
                    raise
                time.sleep(1)
        time.sleep(25)  # the page draws its charts one after the other
        store(browser, "mlflow_sweep.png")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def main() -> None:
    """Make the three pictures anew."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        output = command(folder, f"bnn.train {SWEEP}")
        link = re.findall(r"http\S+viewStateShareKey\S+", output)[0]
        command(folder, "bnn.report bnn/digits --out report")
        browser = chromium()
        try:
            shown = f"$ python -m bnn.train {SWEEP}\n{output}"
            terminal(browser, shown.replace(str(folder), "."), folder)
            mlflow_view(browser, link, folder)
            browser.set_window_size(1100, 1500)
            browser.get((folder / "report" / "bnn_digits.html").as_uri())
            store(browser, "report.png")
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
