/** Models: what can be run here, how good it is said to be, where it comes from. */

import { getModels, setModelState } from "../api.js";
import { Dialog } from "../components/dialog.js";
import { ModelDetail } from "../components/model-detail.js";
import { Page } from "../components/page.js";
import { Empty, Loaded } from "../components/states.js";
import { showError } from "../components/toast.js";
import { html, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { useMay } from "../session.js";

const EVERY_MS = 5000;

export function ModelsPage() {
  const models = useResource(getModels, { everyMs: EVERY_MS });
  const [shown, setShown] = useState("");
  return html`
    <${Page} name="models">
      <${Loaded} resource=${models}>
        ${(value) =>
          value.length
            ? html`<ul class="models">
                ${value.map(
                  (model) =>
                    html`<li key=${model.name}>
                      <${Row} model=${model} onShow=${setShown} onChange=${models.reload} />
                    </li>`,
                )}
              </ul>`
            : html`<${Empty} icon="models" title=${t("models.none")}><code>edgewise pull yunet</code><//>`}
      <//>
      ${shown &&
      html`<${Dialog} title=${shown} onClose=${() => setShown("")} wide><${ModelDetail} name=${shown} /><//>`}
    <//>
  `;
}

/** @typedef {{name: string, version: string, state: string, reason: string, task: string, summary: string, licence: string, shipped: boolean}} ModelRow */

/** @param {{model: ModelRow, onShow: (name: string) => void, onChange: () => void}} props */
function Row({ model, onShow, onChange }) {
  const mayOperate = useMay("operate");
  const [busy, setBusy] = useState(false);
  const loaded = model.state === "ready";
  const toggle = async () => {
    setBusy(true);
    try {
      await setModelState(model.name, loaded ? "unload" : "load");
    } catch (error) {
      showError(error);
    }
    setBusy(false);
    onChange();
  };
  return html`
    <article class="card model" aria-label=${model.name}>
      <div class="model-words">
        <h2>${model.name} <span class="version">${model.version}</span></h2>
        <p>${model.summary}</p>
        <ul class="chips">
          <li><span class="badge" data-state=${model.state}>${t(`model.state.${model.state}`)}</span></li>
          <li class="chip">${t(`task.${model.task}`)}</li>
          <li class="chip">${model.licence}</li>
          ${model.shipped && html`<li class="chip">${t("models.shipped")}</li>`}
        </ul>
        ${model.reason && html`<p class="model-reason small">${model.reason}</p>`}
      </div>
      <div class="model-actions">
        <button
          type="button"
          class="button"
          aria-label=${t("models.details.of", { name: model.name })}
          onClick=${() => onShow(model.name)}
        >
          ${t("models.details")}
        </button>
        ${mayOperate &&
        html`<button
          type="button"
          class="button"
          disabled=${busy}
          aria-busy=${busy}
          aria-label=${`${t(loaded ? "models.unload" : "models.load")} ${model.name}`}
          onClick=${toggle}
        >
          ${t(loaded ? "models.unload" : "models.load")}
        </button>`}
      </div>
    </article>
  `;
}
