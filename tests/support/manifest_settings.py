"""The settings that a container of a manifest gives a server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_settings import CliApp

from genir_server.settings import ServerSettings
from tests.support.manifests import variables

if TYPE_CHECKING:
    import pytest

# What LeaderWorkerSet adds to the second pod of the first group.
GROUP = {"LWS_WORKER_INDEX": "1", "LWS_LEADER_ADDRESS": "genir-group-0.genir-group.genir"}


def settings_of(container: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    """Reads the settings as the server would, from variables and arguments.

    Args:
        container: the container of a manifest.
        monkeypatch: sets the variables, for this test.
    """
    for name, value in variables(container).items():
        if name.startswith("GENIR_"):
            assert name.removeprefix("GENIR_").lower() in ServerSettings.model_fields, name
            monkeypatch.setenv(name, value)
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda found: GROUP[found[1]], argument)
        for argument in container.get("args", [])
    ]
    return CliApp.run(ServerSettings, cli_args=arguments)
