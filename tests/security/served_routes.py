"""python -m tests.security.served_routes: every route that the program would serve, as JSON.

In a process of its own: building the page leaves things open that the tests count as faults.
"""

import json
import os
import sys
from typing import Any

from gradio import processing_utils

from app import server, ui
from app.guard import Guard
from app.server import Doors, serve_page
from app.variables import set_defaults
from tests.security.attacks import routes_of


def main() -> None:
    """Let `serve_page` put everything together, and look at what it would hand to the web server."""
    set_defaults()
    served: list[Any] = []
    setattr(server._PageServer, "run", lambda self, sockets: served.append(self.config.app))  # noqa: B010
    serve_page(port=0, opens_browser=False, model=None)
    (doors,) = served
    assert type(doors) is Doors
    assert type(doors.page) is Guard
    assert processing_utils.async_ssrf_protected_get is ui._refuse_address  # type: ignore[comparison-overlap]
    routes = [
        {
            "path": path,
            "methods": sorted(methods),
            "is_ours": getattr(route, "endpoint", main).__module__.startswith("app."),
        }
        for path, methods, route in routes_of(doors.page.app.app.routes)  # type: ignore[attr-defined]
    ]
    sys.stdout.write(json.dumps(routes))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
