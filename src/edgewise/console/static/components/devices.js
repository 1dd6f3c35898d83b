/** One device: its state in words, and its controls by kind. */

import { commandDevice } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { formatNumber, t } from "../i18n/index.js";
import { Icon } from "./icon.js";
import { showError } from "./toast.js";

/**
 * @typedef {Object} Device
 * @property {string} name
 * @property {"lock" | "light" | "thermostat" | "alarm"} kind
 * @property {Object<string, any>} state
 * @property {boolean} available
 */

/**
 * How a kind looks: whether it is calm, its icon, its state in words, and its controls.
 *
 * @type {Object<string, {tone: (state: any) => string, icon: (state: any) => string, words: (state: any) => string, Controls: any}>}
 */
const KINDS = {
  lock: {
    tone: ({ locked }) => (locked ? "calm" : "good"),
    icon: ({ locked }) => (locked ? "locked" : "unlocked"),
    words: ({ locked }) => t(locked ? "lock.locked" : "lock.unlocked"),
    Controls: LockControls,
  },
  light: {
    tone: ({ on }) => (on ? "warm" : "calm"),
    icon: () => "light",
    words: ({ on, brightness }) => (on ? t("light.on", { brightness: formatNumber(brightness) }) : t("light.off")),
    Controls: LightControls,
  },
  thermostat: {
    tone: () => "calm",
    icon: () => "thermostat",
    words: ({ target_c: target }) => degrees(target),
    Controls: ThermostatControls,
  },
  alarm: {
    tone: ({ active }) => (active ? "bad" : "calm"),
    icon: () => "alarm",
    words: ({ active }) => t(active ? "alarm.raised" : "alarm.clear"),
    Controls: AlarmControls,
  },
};

/** @param {number} celsius */
const degrees = (celsius) => `${formatNumber(celsius, 1)} °C`;

/** @param {{device: Device, onChange: () => void}} props */
export function DeviceCard({ device, onChange }) {
  const kind = KINDS[device.kind];
  const [busy, setBusy] = useState(false);
  const command = async (name, args) => {
    setBusy(true);
    try {
      await commandDevice(device.name, name, args);
    } catch (error) {
      showError(error);
    }
    setBusy(false);
    onChange();
  };
  return html`
    <article class="device" data-kind=${device.kind} data-tone=${kind.tone(device.state)} aria-busy=${busy} aria-label=${device.name}>
      <span class="device-icon"><${Icon} name=${kind.icon(device.state)} /></span>
      <div class="device-words">
        <h3>${device.name}</h3>
        <p class="device-state" aria-live="polite">${device.available ? kind.words(device.state) : t("device.unavailable")}</p>
      </div>
      <div class="device-controls">
        <${kind.Controls} device=${device} command=${command} disabled=${busy || !device.available} />
      </div>
    </article>
  `;
}

function LockControls({ device, command, disabled }) {
  const { locked } = device.state;
  return html`
    <button type="button" class="button" disabled=${disabled} onClick=${() => command(locked ? "unlock" : "lock")}>
      <${Icon} name=${locked ? "unlocked" : "locked"} />${t(locked ? "lock.unlock" : "lock.lock")}
    </button>
  `;
}

function LightControls({ device, command, disabled }) {
  const { on, brightness } = device.state;
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
      onChange=${(event) => command("set", { on: true, brightness: Number(event.target.value) })}
    />
    <button
      type="button"
      class="switch"
      role="switch"
      aria-checked=${on ? "true" : "false"}
      aria-label=${device.name}
      disabled=${disabled}
      onClick=${() => command("set", { on: !on })}
    ></button>
  `;
}

const STEP_C = 0.5;

function ThermostatControls({ device, command, disabled }) {
  const { target_c: target } = device.state;
  const step = (change) => command("set", { target_c: target + change });
  return html`
    <div class="stepper" role="group" aria-label=${t("thermostat.target", { name: device.name })}>
      <button type="button" class="button button-icon" aria-label=${t("thermostat.lower")} disabled=${disabled} onClick=${() => step(-STEP_C)}>
        <${Icon} name="minus" />
      </button>
      <button type="button" class="button button-icon" aria-label=${t("thermostat.raise")} disabled=${disabled} onClick=${() => step(STEP_C)}>
        <${Icon} name="plus" />
      </button>
    </div>
  `;
}

function AlarmControls({ device, command, disabled }) {
  const { active } = device.state;
  return html`
    <button type="button" class=${active ? "button button-danger" : "button"} disabled=${disabled} onClick=${() => command(active ? "clear" : "raise")}>
      ${t(active ? "alarm.doClear" : "alarm.doRaise")}
    </button>
  `;
}
