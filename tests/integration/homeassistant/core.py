"""Home Assistant without its web server: its core, its registries and its MQTT integration, at the broker of a test.

Runs in an environment of its own. Takes one JSON line at a time and answers each with one: ``{}`` gives all states,
``{"call": [domain, service, data]}`` calls a service first, ``{"picture": ENTITY}`` gives the size of a camera's
picture and its first bytes.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

from homeassistant import auth, bootstrap, config_entries, core, loader
from homeassistant.components import camera
from homeassistant.config_entries import ConfigEntry


async def start(port: int, folder: str) -> core.HomeAssistant:
    """A running core whose MQTT integration is connected."""
    Path(folder, "configuration.yaml").touch()
    hass = core.HomeAssistant(folder)
    loader.async_setup(hass)
    hass.config.skip_pip = True
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    await bootstrap.async_load_base_functionality(hass)
    hass.auth = await auth.auth_manager_from_config(hass, [], [])
    hass.http = SimpleNamespace(register_view=lambda *_: None)
    hass.config.components |= {"http", "file_upload"}
    data = {"broker": "127.0.0.1", "port": port, "discovery": True, "protocol": "5"}
    entry = ConfigEntry(version=1, minor_version=2, domain="mqtt", title="broker", data=data, source="user")
    hass.config_entries._entries[entry.entry_id] = entry
    if not await hass.config_entries.async_setup(entry.entry_id):
        raise SystemExit(f"MQTT was not set up: {entry.reason}")
    await hass.async_start()
    return hass


async def answer(hass: core.HomeAssistant, ask: dict) -> object:
    """What is asked for."""
    if "call" in ask:
        domain, service, data = ask["call"]
        await hass.services.async_call(domain, service, data, blocking=True)
    await hass.async_block_till_done()
    if "picture" in ask:
        image = await camera.async_get_image(hass, ask["picture"])
        return {"bytes": len(image.content), "head": image.content[:3].hex()}
    return {state.entity_id: {"state": state.state, **state.attributes} for state in hass.states.async_all()}


async def main() -> None:
    """Answers until nobody asks."""
    hass = await start(int(sys.argv[1]), sys.argv[2])
    asked = asyncio.get_running_loop()
    print(json.dumps("ready"), flush=True)
    while line := await asked.run_in_executor(None, sys.stdin.readline):
        try:
            told = await answer(hass, json.loads(line))
        except Exception as error:  # noqa: BLE001, told to who asked
            told = {"error": repr(error)}
        print(json.dumps(told, default=str), flush=True)
    await hass.async_stop(force=True)


logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
asyncio.run(main())
