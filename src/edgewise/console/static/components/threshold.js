/** The similarity from which a face counts as known, with what moving it does. */

import { getThreshold, setThreshold } from "../api.js";
import { html, useId, useState } from "../html.js";
import { formatNumber, t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { useMay } from "../session.js";
import { Loaded } from "./states.js";
import { showError, showToast } from "./toast.js";

export function Threshold() {
  const threshold = useResource(getThreshold);
  const change = async (value) => {
    try {
      await setThreshold(value);
      threshold.replace(value);
      showToast(t("threshold.saved", { value: formatNumber(value, 2) }));
    } catch (error) {
      showError(error);
      threshold.reload();
    }
  };
  return html`
    <section class="card threshold" aria-labelledby="threshold">
      <h2 id="threshold">${t("threshold.title")}</h2>
      <${Loaded} resource=${threshold}
        >${(value) => html`<${Slider} key=${value} value=${value} onChange=${change} />`}<//
      >
      <p class="muted small">${t("threshold.explained")}</p>
    </section>
  `;
}

/** @param {{value: number, onChange: (value: number) => void}} props */
function Slider({ value, onChange }) {
  const id = useId();
  const mayAdmin = useMay("admin");
  const [wanted, setWanted] = useState(value);
  return html`
    <div class="slider">
      <label for=${id}>${t("threshold.label")}</label>
      <output for=${id}>${formatNumber(wanted, 2)}</output>
      <input
        id=${id}
        type="range"
        min="0"
        max="1"
        step="0.01"
        value=${wanted}
        disabled=${!mayAdmin}
        onInput=${(event) => setWanted(Number(event.target.value))}
        onChange=${(event) => onChange(Number(event.target.value))}
      />
      <div class="slider-ends" aria-hidden="true">
        <span>${t("threshold.low")}</span><span>${t("threshold.high")}</span>
      </div>
    </div>
  `;
}
