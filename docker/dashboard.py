"""optuna-dashboard as a WSGI application that answers under trusted host names only.

The dashboard has no accounts, and its pages change studies. Without the check any web page that a
user of the machine opens could reach it under a name of its own (DNS rebinding).

    STORAGE=postgresql+psycopg://optuna@postgres/optuna DASHBOARD_HOSTS=localhost \
        gunicorn --chdir docker dashboard:application

`STORAGE` is the address of the studies, `DASHBOARD_HOSTS` the host names without ports, with commas
between them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import optuna_dashboard
from optuna.storages import RDBStorage
from werkzeug.exceptions import Forbidden, SecurityError
from werkzeug.wsgi import get_host

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOSTS = [name for name in os.environ["DASHBOARD_HOSTS"].split(",") if name]
# makes Optuna's tables where they are missing: workers that meet none get in each other's way
dashboard: WSGIApplication = optuna_dashboard.wsgi(RDBStorage(os.environ["STORAGE"]))


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer of the dashboard, or 403 for a host name that is not one of `HOSTS`."""
    try:
        get_host(environ, HOSTS)
    except SecurityError:
        return Forbidden("unknown host name; see DASHBOARD_HOSTS")(environ, start_response)
    return dashboard(environ, start_response)
