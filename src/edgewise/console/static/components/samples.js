/** Pictures to try a model with, for a person who has none at hand. `samples/index.json` says where they come from. */

import { html } from "../html.js";
import { t } from "../i18n/index.js";
import { showError } from "./toast.js";

const NAMES = ["astronaut", "cat", "street"];

/** @param {string} name */
const pathOf = (name) => new URL(`../samples/${name}.jpg`, import.meta.url).href;

/** @param {{onPicture: (picture: File) => void}} props */
export function Samples({ onPicture }) {
  const choose = async (name) => {
    try {
      const response = await fetch(pathOf(name));
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      onPicture(new File([await response.blob()], `${name}.jpg`, { type: "image/jpeg" }));
    } catch (error) {
      showError(error);
    }
  };
  return html`
    <div class="samples" role="group" aria-label=${t("try.samples")}>
      <span class="muted small" aria-hidden="true">${t("try.samples")}</span>
      ${NAMES.map(
        (name) => html`
          <button
            key=${name}
            type="button"
            class="sample"
            aria-label=${t(`sample.${name}`)}
            onClick=${() => choose(name)}
          >
            <img src=${pathOf(name)} alt="" />
          </button>
        `,
      )}
    </div>
  `;
}
