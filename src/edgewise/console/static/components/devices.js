/** One device: its state in words, and its controls by kind. */

import { commandDevice } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { formatNumber, t } from "../i18n/index.js";
import { useMay } from "../session.js";
import { Icon } from "./icon.js";
import { showError, showToast } from "./toast.js";

/**
 * @typedef {Object} Device
 * @property {string} name
 * @property {"lock" | "light" | "thermostat" | "alarm"} kind
 * @property {Object<string, any>} state Its facts, by kind: `state`, `brightness`, `temperature_c`, `reason`.
 * @property {boolean} available
 */

/**
 * How a kind looks: its tone and icon, its state in words, and its controls.
 *
 * @type {Object<string, {tone: (state: any) => string, icon: (state: any) => string, words: (state: any) => string, Controls: any}>}
 */
const KINDS = {
  lock: {
    tone: ({ state }) => (state === "unlocked" ? "good" : "calm"),
    icon: ({ state }) => state,
    words: ({ state }) => t(`lock.${state}`),
    Controls: LockControls,
  },
  light: {
    tone: ({ state }) => (state === "on" ? "warm" : "calm"),
    icon: () => "light",
    words: ({ state, brightness }) => t(`light.${state}`, { brightness }),
    Controls: LightControls,
  },
  thermostat: {
    tone: () => "calm",
    icon: () => "thermostat",
    words: ({ temperature_c: degrees }) => `${formatNumber(degrees, 1)} °C`,
    Controls: ThermostatControls,
  },
  alarm: {
    tone: ({ state }) => (state === "raised" ? "bad" : "calm"),
    icon: () => "alarm",
    words: ({ state }) => t(`alarm.${state}`),
    Controls: AlarmControls,
  },
};

/** @param {{device: Device, onChange: () => void}} props */
export function DeviceCard({ device, onChange }) {
  const kind = KINDS[device.kind];
  const mayOperate = useMay("operate");
  const [busy, setBusy] = useState(false);
  const command = async (name, args) => {
    setBusy(true);
    try {
      const { status } = await commandDevice(device.name, name, args);
      if (status === "expired") showToast(t("device.expired", { name: device.name }), { bad: true });
    } catch (error) {
      showError(error);
    }
    setBusy(false);
    onChange();
  };
  return html`
    <article
      class="device"
      data-kind=${device.kind}
      data-state=${device.state.state}
      data-tone=${kind.tone(device.state)}
      aria-busy=${busy}
      aria-label=${device.name}
    >
      <span class="device-icon"><${Icon} name=${kind.icon(device.state)} /></span>
      <div class="device-words">
        <h3>${device.name}</h3>
        <p class="device-state" aria-live="polite">
          ${device.available ? kind.words(device.state) : t("device.unavailable")}
        </p>
      </div>
      ${mayOperate &&
      html`<div class="device-controls">
        <${kind.Controls} device=${device} command=${command} disabled=${busy || !device.available} />
      </div>`}
      ${device.state.reason && html`<p class="device-reason small">${device.state.reason}</p>`}
    </article>
  `;
}

function LockControls({ device, command, disabled }) {
  const locked = device.state.state === "locked";
  return html`
    <button type="button" class="button" disabled=${disabled} onClick=${() => command(locked ? "unlock" : "lock")}>
      <${Icon} name=${locked ? "unlocked" : "locked"} />${t(locked ? "lock.unlock" : "lock.lock")}
    </button>
  `;
}

function LightControls({ device, command, disabled }) {
  const { brightness } = device.state;
  const on = device.state.state === "on";
  const [wanted, setWanted] = useState(brightness);
  useEffect(() => setWanted(brightness), [brightness]);
  return html`
    <input
      type="range"
      min="1"
      max="100"
      value=${wanted}
      disabled=${disabled || !on}
      aria-label=${t("light.brightness", { name: device.name })}
      onInput=${(event) => setWanted(Number(event.target.value))}
      onChange=${(event) => command("turn_on", { brightness: Number(event.target.value) })}
    />
    <button
      type="button"
      class="switch"
      role="switch"
      aria-checked=${on ? "true" : "false"}
      aria-label=${device.name}
      disabled=${disabled}
      onClick=${() => command(on ? "turn_off" : "turn_on")}
    ></button>
  `;
}

const STEP_C = 0.5;

function ThermostatControls({ device, command, disabled }) {
  const step = (change) => command("set_temperature", { temperature_c: device.state.temperature_c + change });
  return html`
    <div class="stepper" role="group" aria-label=${t("thermostat.target", { name: device.name })}>
      <button
        type="button"
        class="button button-icon"
        aria-label=${t("thermostat.lower")}
        disabled=${disabled}
        onClick=${() => step(-STEP_C)}
      >
        <${Icon} name="minus" />
      </button>
      <button
        type="button"
        class="button button-icon"
        aria-label=${t("thermostat.raise")}
        disabled=${disabled}
        onClick=${() => step(STEP_C)}
      >
        <${Icon} name="plus" />
      </button>
    </div>
  `;
}

function AlarmControls({ device, command, disabled }) {
  const raised = device.state.state === "raised";
  const args = raised ? {} : { reason: t("alarm.byHand") };
  return html`
    <button
      type="button"
      class=${raised ? "button button-danger" : "button"}
      disabled=${disabled}
      onClick=${() => command(raised ? "clear" : "raise", args)}
    >
      ${t(raised ? "alarm.doClear" : "alarm.doRaise")}
    </button>
  `;
}
